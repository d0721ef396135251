//! The process group of a child: signals to all of it, and whether any of it is still alive.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};

/// The group that a child leads. Dropping it kills whatever is left of it, unless [`release`](Self::release)d.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    released: bool,
}

impl Group {
    /// The group of the child with this id, which must lead one.
    pub(super) fn of(leader: u32) -> Option<Self> {
        let leader = i32::try_from(leader).ok().and_then(Pid::from_raw)?;
        Some(Self { leader, released: false })
    }

    /// Asks every member to end. A stopped member is woken, since it could not heed the request otherwise.
    pub(super) fn terminate(&self) {
        self.send(Signal::TERM);
        self.send(Signal::CONT);
    }

    /// Ends every member.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    /// Whether a member is alive. A member that has exited and was not reaped by its parent does not count.
    pub(super) fn is_alive(&self) -> bool {
        test_kill_process_group(self.leader).is_ok() && members_alive(self.leader)
    }

    /// Whether the system has stopped the leader since it, or a member, wants to read or set the terminal, which belongs
    /// to the group of `stack`: the signal of that goes to the whole group.
    pub(super) fn wants_terminal(&self) -> bool {
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let stopped_by =
            waitid(WaitId::Pid(self.leader), look).ok().flatten().and_then(|status| status.stopping_signal());
        stopped_by.is_some_and(|signal| [Signal::TTIN, Signal::TTOU].iter().any(|known| known.as_raw() == signal))
    }

    /// Leaves the group alone from now on.
    pub(super) fn release(&mut self) {
        self.released = true;
    }

    fn send(&self, signal: Signal) {
        // The only expected error is that nobody is left, which is what is wanted.
        if let Err(error) = kill_process_group(self.leader, signal) {
            tracing::trace!(group = self.leader.as_raw_nonzero().get(), ?signal, %error, "nobody to signal");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.released {
            self.kill();
        }
    }
}

/// In a container whose first process reaps nobody, dead members stay in the group for ever: ask what state they are in.
#[cfg(target_os = "linux")]
fn members_alive(group: Pid) -> bool {
    let group = group.as_raw_nonzero().get().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    processes.flatten().any(|process| {
        let Ok(stat) = std::fs::read(process.path().join("stat")) else { return false };
        let stat = String::from_utf8_lossy(&stat);
        // `pid (name) state parent group ...`, where the name may hold anything, brackets and spaces included.
        let Some((_, fields)) = stat.rsplit_once(')') else { return false };
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next();
        fields.nth(1) == Some(&*group) && !matches!(state, Some("Z" | "X"))
    })
}

#[cfg(not(target_os = "linux"))]
fn members_alive(_group: Pid) -> bool {
    true
}
