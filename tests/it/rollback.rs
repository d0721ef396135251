//! A release that does not become ready, and a stack that is killed: whatever happens, the next apply works.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::chart_support::{processes, project, reason, release, use_helm};
use crate::support::{Bed, Project};

const BROKEN: &str = "echo the table is missing; exit 3";

fn run_of(bed: &Bed, project: &Project) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].command[3]}";
    bed.kubectl(&["-n", &project.name, "get", "deployment", "web", "-o", path])
}

#[test]
fn what_does_not_become_ready_goes_back_to_what_was_and_says_why_first() {
    let bed = Bed::get();
    for major in [3, 4] {
        let mut project = project(&bed, "back");
        use_helm(&mut project, major);
        project.append("stack.toml", "on-failure = \"rollback\"\nset = { run = \"sleep 3600\" }\n");
        project.apply();

        project.edit("stack.toml", "sleep 3600", BROKEN);
        let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
        let events = run.events();
        let why = events.iter().position(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["event"] == "warning" && message.contains("the table is missing") && message.contains("revision 1")
        });
        let back = events.iter().position(|event| event["line"].as_str().is_some_and(|line| line.contains("Rollback")));
        assert!(why.is_some() && why < back, "Helm {major}: the diagnosis comes first\n{}", run.stdout);
        let reason = reason(&run, "chart:web");
        assert!(reason.contains("exit code 3") && reason.contains("ready as revision 3"), "Helm {major}: {reason}");
        assert_eq!(run_of(&bed, &project), "sleep 3600");
        assert_eq!(release(&bed, &project, "web"), Some((3, "deployed".into())));

        // The file as it was is what the cluster has; the file as it is still has something to do.
        assert_eq!(project.plan()["chart:web"].0, "run");
        project.edit("stack.toml", BROKEN, "sleep 3600");
        let (action, why) = &project.plan()["chart:web"];
        assert_eq!((action.as_str(), why.as_str()), ("skip", "revision 3 is deployed and ready"), "Helm {major}");
    }
}

#[test]
fn a_first_install_that_fails_leaves_nothing_in_the_way() {
    let bed = Bed::get();
    for (mode, after) in [("keep", Some((1, "deployed".to_owned()))), ("rollback", None)] {
        let project = project(&bed, "first");
        project.append("stack.toml", &format!("on-failure = \"{mode}\"\nset = {{ run = \"{BROKEN}\" }}\n"));
        let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
        assert!(reason(&run, "chart:web").contains("exit code 3"), "{}", run.stdout);
        assert_eq!(release(&bed, &project, "web"), after, "{mode}");
        project.edit("stack.toml", BROKEN, "sleep 3600");
        project.apply();
        assert_eq!(run_of(&bed, &project), "sleep 3600");
    }
}

#[test]
fn a_hook_that_fails_is_explained_and_what_a_failed_upgrade_left_is_swept() {
    let bed = Bed::get();
    let project = project(&bed, "hook");
    project.append("stack.toml", "[chart.web.set]\nmaps = [\"one\"]\n");
    project.apply();
    project.edit(
        "stack.toml",
        "[\"one\"]",
        "[\"one\", \"two\"]\nhook = \"post-upgrade\"\nhookRun = \"echo no such table; exit 4\"",
    );
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    for words in ["no such table", "exit code 4", "Job web-hook"] {
        assert!(run.stdout.contains(words), "{words} is not in\n{}", run.stdout);
    }
    assert!(bed.has(&["-n", &project.name, "configmap/web-two"]));
    project.edit("stack.toml", "[\"one\", \"two\"]\nhook = \"post-upgrade\"", "[\"one\"]");
    project.apply();
    assert!(!bed.has(&["-n", &project.name, "configmap/web-two"]), "what the failed upgrade made is swept");
    assert!(bed.has(&["-n", &project.name, "configmap/web-one"]));
}

#[test]
fn killed_in_an_install_an_upgrade_or_a_rollback_the_next_apply_works() {
    let bed = Bed::get();
    for (major, hook, status) in [
        (3, "pre-install", "pending-install"),
        (4, "pre-upgrade", "pending-upgrade"),
        (3, "pre-rollback", "pending-rollback"),
    ] {
        let mut project = project(&bed, "kill");
        use_helm(&mut project, major);
        let values = "run = \"sleep 3600\"\nhook = \"\"\n";
        project.append("stack.toml", &format!("on-failure = \"rollback\"\n[chart.web.set]\n{values}"));
        if hook == "pre-rollback" {
            project.edit("stack.toml", "hook = \"\"", "hook = \"pre-rollback\"");
        }
        if hook != "pre-install" {
            project.apply();
        }
        match hook {
            "pre-rollback" => project.edit("stack.toml", "sleep 3600", BROKEN),
            hook => project.edit("stack.toml", "hook = \"\"", &format!("hook = \"{hook}\"")),
        }
        kill_when(&bed, &project, status);
        assert_eq!(release(&bed, &project, "web").map(|(_, status)| status).as_deref(), Some(status));

        project.edit(
            "stack.toml",
            &format!("hook = \"{}\"", if hook == "pre-rollback" { "pre-rollback" } else { hook }),
            "hook = \"\"",
        );
        let now = if hook == "pre-rollback" { BROKEN } else { "sleep 3600" };
        project.edit("stack.toml", now, "sleep 1800");
        let run = project.stack(&["apply"]).expect_code(0);
        assert!(run.stdout.contains(&format!("was left {status}")), "Helm {major}: {}", run.stdout);
        assert_eq!(run_of(&bed, &project), "sleep 1800", "Helm {major} after {status}");
        assert_eq!(project.plan()["chart:web"].0, "skip");
    }
}

/// Begins an apply, and kills it and its Helm when the release is in this state.
fn kill_when(bed: &Bed, project: &Project, status: &str) {
    let mut stack = project.command(&["apply"]);
    let mut stack = stack.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("stack starts");
    let begun = Instant::now();
    let helm = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "the release never was {status}");
        let at_it = || {
            let is_ours = |args: &[String]| {
                args.first().is_some_and(|program| program.ends_with("helm")) && args.contains(&project.name)
            };
            processes().into_iter().find(|(_, args)| is_ours(args)).map(|(pid, _)| pid)
        };
        if bed.has(&["namespace", &project.name])
            && release(bed, project, "web").is_some_and(|(_, now)| now == status)
            && let Some(helm) = at_it()
        {
            break helm;
        }
    };
    stack.kill().expect("stack is killed");
    stack.wait().expect("stack has ended");
    let helm = rustix::process::Pid::from_raw(i32::try_from(helm).expect("a pid")).expect("a pid");
    rustix::process::kill_process(helm, rustix::process::Signal::KILL).expect("helm is killed");
}
