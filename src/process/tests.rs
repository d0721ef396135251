//! Real children: how they end, and that nothing of them is left.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::event::Stream;

const LONG: Duration = Duration::from_secs(20);

/// Whether a process is there and not only waiting to be reaped.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z')
}

async fn wait_until_gone(pid: u32) {
    let start = Instant::now();
    while is_alive(pid) {
        assert!(start.elapsed() < LONG, "process {pid} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs `line`; calls `at_line` with each line of standard output.
async fn shell(line: &str, cancel: &Cancel, mut at_line: impl FnMut(&str) + Send) -> Result<Output, ProcessError> {
    let command = Command::shell(line).grace(Duration::from_millis(300));
    run(&command, cancel, |stream, line| {
        if stream == Stream::Stdout {
            at_line(line);
        }
    })
    .await
}

#[tokio::test]
async fn both_streams_arrive_line_by_line_and_the_input_is_fed() {
    let command = Command::shell("cat; echo $WORD; pwd; echo err >&2").stdin("in\n").env("WORD", "out").cwd("/");
    let mut seen = Vec::new();
    let output = run(&command, &Cancel::never(), |stream, line| seen.push((stream, line.to_owned()))).await.unwrap();
    let of = |wanted: Stream| {
        seen.iter().filter(|(stream, _)| *stream == wanted).map(|(_, line)| line.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Stream::Stdout), ["in", "out", "/"]);
    assert_eq!(of(Stream::Stderr), ["err"]);
    assert_eq!(output.stdout_text(), "in\nout\n/\n");
    assert_eq!(output.stderr_text(), "err\n");
}

#[tokio::test]
async fn an_input_that_nobody_reads_is_no_failure() {
    let command = Command::new("true").stdin(vec![b'x'; 1 << 20]);
    run(&command, &Cancel::never(), |_, _| {}).await.unwrap();
}

#[tokio::test]
async fn the_environment_can_be_emptied_and_is_never_shown() {
    let command = Command::new("/usr/bin/env").env_clear().env("SECRET", "hunter2").env("GONE", "x").env_remove("GONE");
    let output = run(&command, &Cancel::never(), |_, _| {}).await.unwrap();
    assert_eq!(output.stdout_text(), "SECRET=hunter2\n");
    assert!(!format!("{command:?}").contains("hunter2"));
}

#[tokio::test]
async fn each_way_to_fail_has_its_error() {
    let never = Cancel::never();
    let error = run(&Command::new("no-such-program"), &never, |_, _| {}).await.unwrap_err();
    assert!(matches!(&error, ProcessError::NotFound { program } if program == "no-such-program"));
    assert!(error.help().unwrap().contains("PATH"));
    let error = run(&Command::new("true").cwd("/no/such/folder"), &never, |_, _| {}).await.unwrap_err();
    assert!(matches!(error, ProcessError::NoFolder { .. }), "{error}");
    let error = run(&Command::new("/etc"), &never, |_, _| {}).await.unwrap_err();
    assert!(matches!(error, ProcessError::Spawn { .. }), "{error}");
    let error = shell("echo why >&2; exit 3", &never, |_| {}).await.unwrap_err();
    assert!(matches!(error, ProcessError::Exit { code: 3, .. }), "{error}");
    assert_eq!(error.output().unwrap().stderr_text(), "why\n");
    let error = shell("kill -SEGV $$", &never, |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "`sh` was ended by signal 11 (SEGV)");
}

#[tokio::test]
async fn a_script_that_cannot_be_started_says_what_it_lacks() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("s.sh");
    for (text, mode, says, help) in [
        ("#!/no/such/interp -e\ntrue\n", 0o755, "names `/no/such/interp`", "install `/no/such/interp`"),
        ("#! /bin/sh\r\ntrue\r\n", 0o755, "names `/bin/sh\\r`", "CR LF"),
        ("#!/bin/sh\ntrue\n", 0o644, "it is not executable", "`chmod +x ./s.sh`"),
    ] {
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(mode)).unwrap();
        let command = Command::new("./s.sh").cwd(folder.path());
        let error = run(&command, &Cancel::never(), |_, _| {}).await.unwrap_err();
        assert!(error.to_string().starts_with("`./s.sh` could not be started: ") && error.to_string().contains(says));
        assert!(error.help().unwrap().contains(help), "{:?}", error.help());
    }
}

#[tokio::test]
async fn a_command_waits_while_there_is_no_room_for_its_lines() {
    use crate::event::{EventKind, Events};
    let (events, mut receiver) = Events::channel();
    while events.room().is_there() {
        let step = crate::graph::StepId::new(crate::graph::StepKind::Task, "a");
        events.send(EventKind::StepOutput { step, stream: Stream::Stdout, line: "x".repeat(100_000) });
    }
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let command = Command::shell("echo one; touch printed; exec yes").cwd(folder.path()).room(events.room().clone());
    let source = CancelSource::new();
    let cancel = source.cancel();
    let is_free = std::sync::atomic::AtomicBool::new(false);
    let run = run(&command, &cancel, |_, _| {
        assert!(is_free.load(std::sync::atomic::Ordering::SeqCst), "it was read although there was no room");
        source.raise(CancelLevel::Kill);
    });
    let listen = async {
        while !printed.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        is_free.store(true, std::sync::atomic::Ordering::SeqCst);
        receiver.recv_many(&mut Vec::new(), 1000).await;
        // Whoever asks for more says that these are told; there are none until the run is over.
        receiver.recv_many(&mut Vec::new(), 1000).await;
    };
    let error = tokio::select! {
        result = run => result.unwrap_err(),
        () = listen => panic!("nobody sent more"),
    };
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error}");
}

#[tokio::test]
async fn what_a_run_keeps_is_bounded() {
    let command = Command::shell("yes 123456789 | head -c 10000000; echo end").keep(100);
    let output = run(&command, &Cancel::never(), |_, _| {}).await.unwrap();
    assert!(output.stdout.starts_with(b"123456789\n"), "of whole lines");
    assert!(output.stdout.ends_with(b"\nend\n"));
    assert_eq!(output.stdout.len(), 94);
    assert_eq!(output.stdout_dropped, 10_000_000 + 4 - 94);
}

#[tokio::test]
async fn what_a_command_leaves_behind_does_not_hold_up_its_end() {
    let start = Instant::now();
    let output = shell("echo before; sleep 1000 & echo $!", &Cancel::never(), |_| {}).await.unwrap();
    assert!(start.elapsed() < LONG);
    let pid: u32 = output.stdout_text().lines().nth(1).unwrap().parse().unwrap();
    assert!(is_alive(pid), "a daemon that a tool started goes on");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[tokio::test]
async fn a_flood_from_what_is_left_behind_does_not_hide_the_end() {
    let mut pid = 0;
    let start = Instant::now();
    shell("yes & echo $!", &Cancel::never(), |line| pid = line.parse().unwrap_or(pid)).await.unwrap();
    assert!(start.elapsed() < LONG);
    // Its pipe is closed now.
    wait_until_gone(pid).await;
}

#[tokio::test]
async fn an_orderly_child_ends_at_term_within_its_grace() {
    let source = CancelSource::new();
    let line = "trap 'echo cleaning; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut lines = Vec::new();
    let error = shell(line, &source.cancel(), |line| {
        lines.push(line.to_owned());
        source.raise(CancelLevel::Terminate);
    })
    .await
    .unwrap_err();
    assert!(matches!(&error, ProcessError::Cancelled { .. }), "{error}");
    assert_eq!(lines, ["ready", "cleaning"]);
    assert!(error.output().unwrap().status.unwrap().success());
}

/// Runs `line`, which prints two process ids, and cancels it then; returns these.
async fn cancelled(line: &str, level: CancelLevel) -> Vec<u32> {
    let source = CancelSource::new();
    let mut pids = Vec::new();
    let error = shell(line, &source.cancel(), |line| {
        pids.push(line.parse().unwrap());
        if pids.len() == 2 {
            source.raise(level);
        }
    })
    .await
    .unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error}");
    pids
}

/// The leader and its child ignore TERM.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $!; echo $$; while :; do sleep 1000; done";

#[tokio::test]
async fn a_child_that_ignores_term_and_forks_is_gone_after_the_grace() {
    for level in [CancelLevel::Terminate, CancelLevel::Kill] {
        let start = Instant::now();
        let pids = cancelled(STUBBORN, level).await;
        let grace_was_given = start.elapsed() >= Duration::from_millis(300);
        assert_eq!(grace_was_given, level == CancelLevel::Terminate);
        assert!(pids.iter().all(|&pid| !is_alive(pid)), "at {level:?}");
    }
}

#[tokio::test]
async fn what_has_ended_counts_before_a_request_that_comes_late() {
    for level in [CancelLevel::Terminate, CancelLevel::Kill].repeat(8) {
        let source = CancelSource::new();
        shell("echo $$; exec sleep 0.001", &source.cancel(), |line| {
            let start = Instant::now();
            while is_alive(line.parse().unwrap()) {
                assert!(start.elapsed() < LONG);
                std::thread::yield_now();
            }
            source.raise(level);
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_second_request_cuts_the_grace_short() {
    let source = CancelSource::new();
    let command = Command::shell("trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done").grace(LONG * 2);
    let start = Instant::now();
    let error = run(&command, &source.cancel(), |_, line| match line {
        "ready" => source.raise(CancelLevel::Terminate),
        _ => source.raise(CancelLevel::Kill),
    })
    .await
    .unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error}");
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn members_of_the_group_have_their_grace_after_the_leader() {
    let source = CancelSource::new();
    // The leader dies of TERM at once, its child needs a moment to clean up.
    let line = "sh -c 'trap \"sleep 0.1; echo clean; exit\" TERM; echo ready; while :; do sleep 0.01; done' & wait";
    let mut lines = Vec::new();
    let command = Command::shell(line).grace(LONG);
    let error = run(&command, &source.cancel(), |stream, line| {
        // The shell tells on its standard error of each child that a signal ended.
        if stream == Stream::Stdout {
            lines.push(line.to_owned());
        }
        source.raise(CancelLevel::Terminate);
    })
    .await
    .unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error}");
    assert_eq!(lines, ["ready", "clean"]);
}

#[tokio::test]
async fn the_last_words_of_members_are_read_after_the_leader() {
    let source = CancelSource::new();
    // More than a pipe holds.
    let line = "sh -c 'trap \"yes | head -c 300000; echo clean; exit\" TERM; echo ready; while :; do sleep 0.01; done' \
                & wait";
    let mut last = String::new();
    let command = Command::shell(line).grace(LONG);
    let start = Instant::now();
    let error = run(&command, &source.cancel(), |stream, line| {
        if stream == Stream::Stdout {
            line.clone_into(&mut last);
        }
        source.raise(CancelLevel::Terminate);
    })
    .await
    .unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error}");
    assert_eq!(last, "clean");
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn nothing_is_left_of_a_command_that_failed() {
    // One that heeds TERM, one that does not, and one that ends its leader by a signal.
    for line in [
        "sleep 1000 & echo $!; exit 1",
        "(trap '' TERM; echo ready; while :; do sleep 1000; done) & echo $!; exit 1",
        "sleep 1000 & echo $!; kill -KILL $$",
    ] {
        let mut pid = 0;
        let error = shell(line, &Cancel::never(), |line| pid = line.parse().unwrap_or(pid)).await.unwrap_err();
        assert!(
            matches!(error, ProcessError::Exit { code: 1, .. } | ProcessError::Signal { signal: 9, .. }),
            "{error}"
        );
        assert!(pid > 0 && !is_alive(pid), "{line}");
    }
}

#[tokio::test]
async fn what_has_left_the_group_is_ended_with_it() {
    // A group of its own, and a session of its own that ignores TERM.
    for line in [
        "timeout 1000 sh -c 'echo $$; echo $PPID; exec sleep 1000'; echo no",
        "setsid sh -c 'trap \"\" TERM; echo $$; echo $$; while :; do sleep 0.01; done' & wait",
    ] {
        for level in [CancelLevel::Terminate, CancelLevel::Kill] {
            let pids = cancelled(line, level).await;
            assert!(pids.iter().all(|&pid| !is_alive(pid)), "{line} at {level:?}");
        }
    }
}

#[tokio::test]
async fn work_that_may_finish_is_let_finish() {
    let source = CancelSource::new();
    let let_finish = |line: &str, grace| Command::shell(line).on_terminate(OnTerminate::LetFinish).grace(grace);
    let command = let_finish("echo ready; sleep 0.1; echo finished", LONG);
    let output = run(&command, &source.cancel(), |_, _| source.raise(CancelLevel::Terminate)).await.unwrap();
    assert_eq!(output.stdout_text(), "ready\nfinished\n");

    let source = CancelSource::new();
    let command = let_finish("echo ready; sleep 1000", Duration::from_millis(50));
    let error = run(&command, &source.cancel(), |_, _| source.raise(CancelLevel::Terminate)).await.unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error}");
}

#[tokio::test]
async fn a_stopped_child_can_be_cancelled() {
    let source = CancelSource::new();
    let pid = Mutex::new(0_u32);
    let command = Command::shell("echo $$; kill -STOP $$; sleep 1000").grace(LONG * 2);
    let start = Instant::now();
    let cancel = source.cancel();
    let run = run(&command, &cancel, |_, line| *pid.lock().unwrap() = line.parse().unwrap());
    let stop = async {
        loop {
            let pid = *pid.lock().unwrap();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.contains(") T ") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        source.raise(CancelLevel::Terminate);
    };
    let (result, ()) = tokio::join!(run, stop);
    assert!(matches!(result.unwrap_err(), ProcessError::Cancelled { .. }));
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn dropping_the_future_ends_the_whole_group() {
    let (sender, mut pids) = tokio::sync::mpsc::unbounded_channel::<u32>();
    let task = tokio::spawn(async move {
        let never = Cancel::never();
        shell(STUBBORN, &never, |line| sender.send(line.parse().unwrap()).unwrap()).await
    });
    let (child, leader) = (pids.recv().await.unwrap(), pids.recv().await.unwrap());
    assert!(is_alive(child) && is_alive(leader));
    task.abort();
    wait_until_gone(child).await;
    wait_until_gone(leader).await;
    // Gone means reaped, too, not only dead.
    let start = Instant::now();
    while std::fs::exists(format!("/proc/{leader}")).unwrap() {
        assert!(start.elapsed() < LONG, "the leader was not reaped");
        // The runtime reaps orphans when it hears of a child's end: give it one to hear of.
        shell("true", &Cancel::never(), |_| {}).await.unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_run_starts_nothing() {
    let source = CancelSource::new();
    source.raise(CancelLevel::Terminate);
    let folder = tempfile::tempdir().unwrap();
    let command = Command::new("touch").arg("file").cwd(folder.path());
    let error = run(&command, &source.cancel(), |_, _| {}).await.unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }));
    assert!(!folder.path().join("file").exists());
}

#[tokio::test]
async fn capture_holds_to_its_limit_and_its_time() {
    let never = Cancel::never();
    let small = Capture { limit: 10, timeout: LONG };
    let output = capture(&Command::shell("printf 0123456789"), &never, small).await.unwrap();
    assert_eq!(output.stdout, b"0123456789");
    let error = capture(&Command::new("yes"), &never, small).await.unwrap_err();
    assert!(matches!(error, ProcessError::TooMuchOutput { limit: 10, .. }), "{error}");
    let brief = Capture { timeout: Duration::from_millis(50), ..Capture::default() };
    let error = capture(&Command::shell("echo begun; exec sleep 1000"), &never, brief).await.unwrap_err();
    assert_eq!(error.to_string(), "`sh` did not finish within 50 ms");
    assert_eq!(error.class(), crate::error::Class::Transient);
}
