//! What the system allows, and what `stack` makes of it.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Project, program, succeed, wait_until};
use rustix::fs::OFlags;

#[test]
fn as_many_steps_run_at_the_same_time_as_were_asked_for() {
    let project = Project::empty("limits");
    let mut stack = "[stack]\nname = \"@name@\"\n".to_owned();
    for task in 0..40 {
        // Opening the pipe waits until it is opened for writing.
        stack += &format!("[task.t{task}]\nrun = \"touch runs{task}; read line < gate; exit 0\"\n");
    }
    project.write("stack.toml", &stack);
    succeed(Command::new("mkfifo").arg(project.path().join("gate")));
    let line = format!("ulimit -S -n 80; exec '{}' apply -j 40", program().display());
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(project.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.env_remove("STACK_FILE").spawn().unwrap();
    let start = Instant::now();
    while !(0..40).all(|task| project.path().join(format!("runs{task}")).exists()) {
        if start.elapsed() > Duration::from_secs(30) || child.try_wait().unwrap().is_some() {
            let _ = child.kill();
            let running = fs::read_dir(project.path()).unwrap().count();
            panic!("they do not all run: there are {running} files\n{:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // One that says that it runs may not have opened the pipe yet: it is opened for all of them, again and again.
    let mut gate = File::options();
    gate.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut ended = None;
    wait_until("the run ends", || {
        // Without a reader it can't be opened.
        drop(gate.open(project.path().join("gate")));
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(0));
}
