//! What comes from outside is told as text: it commands no terminal, shows no secret, and is no longer than can be read. And
//! a result that can't be told is no success.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::process::Stdio;

use crate::support::{Project, Run};
use crate::tasks::finished;

/// A stack with one task that has a secret.
fn with_task(run: &str) -> Project {
    let mut project = Project::empty("told");
    project.write("print.sh", run);
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[vars]\ntoken = { env = \"TOKEN\", secret = true }\n\
         [task.a]\nrun = \"sh print.sh\"\ninputs = [\"print.sh\"]\nenv = { TOKEN = \"${var.token}\" }\n",
    );
    project.set_env("TOKEN", SECRET);
    project
}

const SECRET: &str = "hunter2-and-so-on-for-more-than-the-57-bytes-that-fit-on-one-line-of-base64";

/// What a task printed, by the events.
fn printed(run: &Run) -> Vec<String> {
    let events = run.events().into_iter().filter(|event| event["event"] == "step-output");
    events.map(|event| event["line"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_command_prints_is_text_and_colours() {
    let mut project = with_task(
        r"printf '\033[?25l\033[?1049hworking\n\033]0;X\007title\n\033[1A\033[2K\013\014gone\n10%%\r\033[32m100%%\n'
          printf '\033[2J\033[31mbad\007 news\n' >&2
          exit 1",
    );
    project.set_env("GITHUB_STEP_SUMMARY", "summary.md");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let mut lines = printed(&run);
    lines.sort();
    let expected = ["\u{1b}[31mbad news\u{1b}[0m", "\u{1b}[32m100%\u{1b}[0m", "gone", "title", "working"];
    assert_eq!(lines, expected);
    let diagnosis = finished(&run, "task:a")["diagnosis"].as_str().unwrap().to_owned();
    let mut told: Vec<_> = diagnosis.lines().collect();
    told.sort_unstable();
    assert_eq!(told, expected);
    for colour in ["always", "never"] {
        let Run { stdout, stderr, .. } = project.stack(&["apply", "--color", colour]).expect_code(1);
        let is_colour = |rest: &str| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ';' | ':')).unwrap();
            rest[end..].starts_with('m')
        };
        let text = format!("{stdout}{stderr}");
        assert_eq!(text.contains("\u{1b}[31mbad news\u{1b}[0m\n"), colour == "always", "{text:?}");
        assert!(text.split("\u{1b}[").skip(1).all(is_colour), "{text:?}");
        let text = text.replace("\u{1b}[", "");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    let summary = fs::read_to_string(project.path().join("summary.md")).unwrap();
    assert!(summary.contains("\nbad news\n") && !summary.contains('\u{1b}'), "{summary}");
}

#[test]
fn a_secret_is_hidden_in_colours_in_encodings_and_in_long_lines() {
    let mut project = with_task(
        r#"echo "key=$TOKEN" | grep --color=always and-so
           echo $TOKEN | base64
           printf "user:$TOKEN" | base64 -w 0; echo
           printf "$TOKEN" | od -An -v -tx1 | tr -d ' \n'; echo
           head -c 65530 /dev/zero | tr '\0' x; echo $TOKEN
           head -c 1048560 /dev/zero | tr '\0' x; echo $TOKEN"#,
    );
    let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
    let lines = printed(&run);
    let [colour, base64, rest, basic, hex, long, longer] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!([colour.as_str(), base64, hex], ["key=***", "***", "***"]);
    assert!(rest.starts_with("***") && rest.len() <= 7, "{rest}");
    assert!(basic.starts_with("dXNlcj") && basic.contains("***") && basic.len() < 16, "{basic}");
    assert_eq!(*long, "x".repeat(65530) + "***");
    assert_eq!(longer, "(a line of 1048635 bytes, which is too long to be shown)");
    assert!(!String::from_utf8_lossy(&fs::read(project.path().join(".stack/tasks")).unwrap()).contains(&base64_line()));

    // Of a long output the last part explains a failure, and that may begin within a secret.
    project.write(
        "print.sh",
        "for i in 1 2 3; do echo $TOKEN >&2; head -c 1048560 /dev/zero | tr '\\0' x >&2; echo >&2; done; exit 1",
    );
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    for length in 1..=SECRET.len() {
        let end = format!("{}\n", &SECRET[SECRET.len() - length..]);
        assert!(!finished(&run, "task:a")["diagnosis"].as_str().unwrap_or_default().starts_with(&end), "{end}");
    }
    project.set_env("TOKEN", "other");
    project.write("print.sh", "head -c 900000 /dev/zero | tr '\\0' x >&2; exit 1");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let diagnosis = finished(&run, "task:a")["diagnosis"].as_str().unwrap().to_owned();
    assert!(diagnosis.len() < 5000 && diagnosis.ends_with("x… and 895904 more bytes"), "{}", diagnosis.len());
}

fn base64_line() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(&SECRET[..57])
}

#[test]
fn what_a_failure_blocks_is_told_by_the_first_few() {
    let project = Project::empty("told");
    let mut text = "[stack]\nname = \"@name@\"\n[task.bad]\nrun = \"false\"\n".to_owned();
    for number in 0..70 {
        text.push_str(&format!("[task.after-{number:02}]\nrun = \"true\"\nneeds = [\"task.bad\"]\n"));
    }
    project.write("stack.toml", &text);
    let run = project.stack(&["apply"]).expect_code(1);
    let named: Vec<_> = (0..10).map(|number| format!("task:after-{number:02}")).collect();
    assert!(run.stdout.contains(&format!("could not start: {} and 60 more\n", named.join(", "))), "{}", run.stdout);
    assert_eq!(run.stdout.matches("task:after-").count(), 10, "{}", run.stdout);
    assert!(run.stdout.contains(" blocked:70"), "{}", run.stdout);
}

#[test]
fn a_value_of_several_lines_is_told_on_one() {
    let project = Project::empty("told");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"true\"\nenv = { X = \"a\" }\n");
    project.stack(&["apply"]).expect_code(0);
    project.edit("stack.toml", "\"a\"", "\"a\\nb\\u001b[31mred\"");
    for args in [&["plan"][..], &["why", "task:a"], &["apply"]] {
        let run = project.stack(args).expect_code(0);
        assert!(run.stdout.contains(r#"env X a -> "a\nb\u{1b}[31mred""#), "{args:?}: {}", run.stdout);
        assert!(!run.stdout.contains("\nb"), "{args:?}: {}", run.stdout);
    }
}

#[test]
fn a_result_that_can_not_be_written_is_no_success() {
    let project = Project::empty("told");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"true\"\n");
    for args in [
        &["graph", "--format", "json"][..],
        &["schema"],
        &["validate"],
        &["man"],
        &["completions", "bash"],
        &["plan", "--exit-code"],
        &["plan", "--format", "json"],
        &["apply", "--format", "json"],
        &["apply"],
        &["why", "task:a"],
        &["--help"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = project.command(args).stdout(Stdio::from(full)).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{args:?}: {stderr}");
        assert!(stderr.contains("No space left"), "{args:?}: {stderr}");
        // Whoever has read enough goes away, and that is no failure.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = project.command(args).stdout(Stdio::from(writer)).output().unwrap();
        let is_fine = matches!(output.status.code(), Some(0 | 5)) && output.stderr.is_empty();
        assert!(is_fine, "{args:?}: {output:?}");
    }
    project
        .stack(&["apply", "--junit", "/dev/full"])
        .expect_code(3)
        .expect_stderr("can't write /dev/full: No space left");
}
