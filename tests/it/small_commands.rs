//! The commands around the work: a first stack file, completions, manual pages, help.

use crate::support::{Project, checkout};

const COMMANDS: [&str; 11] =
    ["apply", "plan", "graph", "why", "status", "destroy", "watch", "validate", "init", "completions", "man"];

#[test]
fn a_first_stack_file_is_valid_and_does_not_overwrite() {
    let project = Project::empty("init");
    project.copy("app/backend", "app/backend");
    project.copy("dockerfiles/backend.Dockerfile", "dockerfiles/backend.Dockerfile");
    project.copy("charts/todo-chatbot", "charts/todo-chatbot");
    let run = project.stack(&["init", "--name", "My Shop"]).expect_code(0);
    assert!(run.stdout.contains("wrote stack.toml: 1 images, 1 charts"), "{}", run.stdout);
    project.stack(&["validate"]).expect_code(0);
    let graph = project.stack(&["graph", "--format", "json"]).expect_code(0);
    for step in ["cluster", "build:backend", "load:backend", "chart:todo-chatbot"] {
        assert!(graph.stdout.contains(&format!("\"{step}\"")), "{}", graph.stdout);
    }
    let shown = project.stack(&["init", "--stdout", "--name", "My Shop"]).expect_code(0);
    assert!(shown.stdout.contains("name = \"my-shop\""), "{}", shown.stdout);
    assert!(shown.stdout.contains("\"backend.image.tag\" = \"${image.backend.tag}\""), "{}", shown.stdout);
    project.stack(&["init"]).expect_code(2).expect_stderr("there is one");
}

#[test]
fn shells_and_manuals_know_every_command() {
    let project = Project::empty("man");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = project.stack(&["completions", shell]).expect_code(0).stdout;
        for word in COMMANDS.into_iter().chain(["from-failed", "keep-going"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let page = project.stack(&["man"]).expect_code(0).stdout;
    assert!(page.contains(".TH stack 1"), "{page}");
    for command in COMMANDS {
        let page = project.stack(&["man", command]).expect_code(0).stdout;
        assert!(page.contains(&format!(".TH stack-{command} 1")), "{page}");
    }
    project.stack(&["man", "cook"]).expect_code(2).expect_stderr("the commands are apply, plan");
    // The script is one that a shell can read.
    let script = project.path().join("completions.bash");
    std::fs::write(&script, project.stack(&["completions", "bash"]).stdout).unwrap();
    crate::support::succeed(std::process::Command::new("bash").arg("-n").arg(script));
}

#[test]
fn help_fits_a_terminal_of_80_columns() {
    let project = Project::empty("help");
    for command in COMMANDS {
        let mut command = project.command(&[command, "--help"]);
        let output = command.env("COLUMNS", "80").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Usage: stack") && text.contains("Global options:"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn every_command_is_in_the_documentation() {
    let docs = std::fs::read_to_string(checkout().join("docs/stack-file.md")).unwrap();
    let known: Vec<_> = COMMANDS.into_iter().filter(|command| docs.contains(&format!("`stack {command}"))).collect();
    assert_eq!(known, COMMANDS);
}
