//! `stack watch` applies again when something changed that a key holds, and at no other time.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use crate::support::Project;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A `stack watch` that is going on.
struct Watching {
    child: Child,
    output: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
}

impl Watching {
    fn start(project: &Project) -> Self {
        let mut command = project.command(&["watch", "--debounce", "30", "--format", "json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self { child, output, errors }
    }

    /// Reads on to the end of the next run: which steps were done.
    fn next_run(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == "step-finished" && event["outcome"] == "done" {
                done.push(event["step"].as_str().unwrap().to_owned());
            }
            if event["event"] == "run-finished" {
                return done;
            }
        }
    }

    /// Reads on to a line for people.
    fn says(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            assert!(self.errors.read_line(&mut line).unwrap() > 0, "it never said {text}");
            if line.contains(text) {
                return;
            }
        }
    }

    fn settle(&mut self) -> Vec<String> {
        let done = self.next_run();
        self.says("watching");
        done
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const STACK: &str = "[stack]\nname = \"@name@\"\n\
    [task.names]\nrun = \"cat $(find names -name *.txt | sort) > all\"\ninputs = [\"names/**/*.txt\"]\noutputs = [\"all\"]\n\
    [task.count]\nrun = \"wc -l < all\"\ninputs = [\"all\"]\nneeds = [\"task.names\"]\n";

#[test]
fn what_a_key_holds_is_applied_when_it_changes_and_nothing_else() {
    let project = Project::empty("watch");
    project.write("stack.toml", STACK);
    project.write("names/a.txt", "ada\n");
    project.write("names/deep/b.txt", "bob\n");
    let mut watching = Watching::start(&project);
    assert_eq!(watching.settle(), ["task:names", "task:count"]);
    // What the run made itself is a file that matters, too, and no reason for another run.

    project.write("names/deep/b.txt", "bo\n");
    assert_eq!(watching.settle(), ["task:names", "task:count"]);

    // Neither of these is in a key: the next run is that of the new file, in a folder that is new as well.
    project.write("names/a.txt", "ada\n");
    project.write("names/notes.md", "of no interest");
    project.write("names/new/c.txt", "cyd\n");
    assert_eq!(watching.settle(), ["task:names", "task:count"]);

    fs::remove_file(project.path().join("names/a.txt")).unwrap();
    assert_eq!(watching.settle(), ["task:names", "task:count"]);

    // A stack file that is wrong is told, and waited for.
    project.edit("stack.toml", "[task.count]", "[task.count");
    watching.says("this is not TOML");
    project.edit("stack.toml", "[task.count", "[task.count]");
    assert_eq!(watching.settle(), [""; 0]);
    project.edit("stack.toml", "wc -l", "wc -c");
    assert_eq!(watching.settle(), ["task:count"]);

    // A run that fails does not end it.
    project.edit("stack.toml", "wc -c", "exit 3; wc -c");
    assert_eq!(watching.settle(), [""; 0]);
    project.edit("stack.toml", "exit 3; ", "");
    assert_eq!(watching.settle(), ["task:count"]);

    kill_process(Pid::from_child(&watching.child), Signal::INT).unwrap();
    let mut rest = String::new();
    watching.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing was started by what nobody asked about");
    assert_eq!(watching.child.wait().unwrap().code(), Some(130));
}
