//! `kill -9` at any moment costs time and nothing else: the next apply sets everything right.
//!
//! Needs the test bed.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::small::{self, assert_right};
use crate::support::{Bed, Project, host_docker};

/// How often, unless `STACK_TEST_KILLS` says otherwise.
const KILLS: u64 = 8;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Applies and kills it after so long, unless it is done before. Says whether it was killed.
fn killed_after(project: &Project, moment: Duration) -> bool {
    let mut child = project
        .command(&["apply", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("stack starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let (done, ended) = channel();
    // Its output ends when it does.
    let reader = std::thread::spawn(move || {
        let _ = stdout.read_to_end(&mut Vec::new());
        let _ = done.send(());
    });
    let killed = ended.recv_timeout(moment) == Err(RecvTimeoutError::Timeout);
    if killed {
        child.kill().expect("it can be killed");
    }
    child.wait().expect("it ends");
    reader.join().expect("its output ends");
    killed
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_kill_at_any_moment_is_made_good_by_the_next_apply() {
    let kills = number("STACK_TEST_KILLS").unwrap_or(KILLS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let mut dice = small::Dice::new(number("STACK_TEST_SEED").unwrap_or(now));
    println!("seed {dice:?}");
    let bed = Bed::get();
    let mut project = small::project(&bed, "crash");
    let temporary = tempfile::tempdir().expect("a folder");
    project.set_env("TMPDIR", temporary.path().to_str().expect("UTF-8"));
    project.set_env("TOKEN", "hunter2-secret");
    let mut in_time = 0;
    // A kill that comes when all is over proves nothing: they come within about the time that an apply takes here.
    let mut within = 1500;
    for kill in 0.. {
        if in_time == kills {
            break;
        }
        assert!(kill < 10 * kills + 100, "only {in_time} of {kill} were killed in time");
        let number = dice.roll(1000);
        if dice.roll(4) > 0 {
            project.write("base/app/a", &format!("{number}\n"));
        }
        if dice.roll(3) == 0 {
            project.write("chart/files/text", &format!("text {number}\n"));
        }
        if dice.roll(3) == 0 {
            project.write("names/a", &format!("{number}\n"));
        }
        if dice.roll(8) == 0 {
            let _ = fs::remove_dir_all(project.path().join(".stack"));
        }
        let moment = Duration::from_millis(dice.roll(within));
        let killed = killed_after(&project, moment);
        in_time += u64::from(killed);
        within = if killed { within + within / 20 } else { within - within / 10 }.clamp(100, 3000);
        let after = format!("kill {kill} after {moment:?} ({killed})");
        let begun = Instant::now();
        let run = project.stack(&["apply", "--format", "json"]);
        println!("{after}: made good in {:?}", begun.elapsed());
        assert_eq!(run.code, 0, "{after}: {}{}", run.stdout, run.stderr);
        assert_right(&bed, &project, &after);
        let plan = project.plan();
        assert!(plan.values().all(|(action, _)| action == "skip"), "{after}: not at rest: {plan:?}");
        let left = names_in(&project.path().join(".stack"));
        assert!(!left.iter().any(|name| name.starts_with(".tmp")), "{after}: {left:?}");
        assert_eq!(names_in(temporary.path()), [""; 0], "{after}: temporary files are left");
    }
    let names = host_docker(&["image", "ls", "--format", "{{.Repository}}"]);
    let names = String::from_utf8(names.stdout).expect("UTF-8");
    let left: Vec<&str> = names.lines().filter(|name| name.contains('/') && name.contains(&project.name)).collect();
    assert_eq!(left, [""; 0], "names of pushes are left");
    for file in names_in(&project.path().join(".stack")) {
        let content = fs::read(project.path().join(".stack").join(&file)).expect("a file");
        assert!(!String::from_utf8_lossy(&content).contains("hunter2"), "a secret is in .stack/{file}");
    }
    let status = Command::new("helm")
        .args(["--kube-context", &bed.profile, "-n", &project.name, "list", "--all", "-o", "json"])
        .output()
        .expect("helm");
    let releases: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let stuck = |release: &&serde_json::Value| release["status"] != "deployed";
    assert_eq!(releases.as_array().expect("a list").iter().filter(stuck).count(), 0, "{releases}");
}
