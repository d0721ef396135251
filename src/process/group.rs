//! The process group of a child: signals to all of it, and whether any of it is still alive.
//!
//! Not everything that a child starts stays in its group: `timeout` makes one of its own, and so does a shell with job
//! control for each of its jobs. What descends from the group when it is asked to end is asked as well.

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process_group, waitid,
};

/// The group that a child leads. Dropping it kills whatever is left of it, unless [`release`](Self::release)d.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    released: bool,
    /// What descended from the group, and was not in it, when it was asked to end. Once their parents have ended, nothing
    /// tells any more where they came from.
    strays: Vec<Process>,
}

impl Group {
    /// The group of the child with this id, which must lead one.
    pub(super) fn of(leader: u32) -> Option<Self> {
        let leader = i32::try_from(leader).ok().and_then(Pid::from_raw)?;
        Some(Self { leader, released: false, strays: Vec::new() })
    }

    /// Asks every member to end. A stopped member is woken, since it could not heed the request otherwise.
    pub(super) fn terminate(&mut self) {
        self.find_strays();
        self.send(Signal::TERM);
        self.send(Signal::CONT);
    }

    /// Ends every member.
    pub(super) fn kill(&mut self) {
        self.find_strays();
        self.send(Signal::KILL);
    }

    /// Whether a member is alive. A member that has exited and was not reaped by its parent does not count.
    pub(super) fn is_alive(&self) -> bool {
        (test_kill_process_group(self.leader).is_ok() && members_alive(self.leader))
            || self.strays.iter().any(Process::is_there)
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

    fn find_strays(&mut self) {
        if test_kill_process_group(self.leader).is_err() {
            return;
        }
        for stray in strays(self.leader) {
            if !self.strays.contains(&stray) {
                self.strays.push(stray);
            }
        }
    }

    fn send(&self, signal: Signal) {
        // The only expected error is that nobody is left, which is what is wanted.
        if let Err(error) = kill_process_group(self.leader, signal) {
            tracing::trace!(group = self.leader.as_raw_nonzero().get(), ?signal, %error, "nobody to signal");
        }
        for stray in self.strays.iter().filter(|stray| stray.is_there()) {
            if let Err(error) = kill_process(stray.id, signal) {
                tracing::trace!(process = stray.id.as_raw_nonzero().get(), ?signal, %error, "nobody to signal");
            }
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

/// A process, and no other that gets its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    id: Pid,
    /// When it began, as the system counts.
    began: u64,
}

impl Process {
    /// Whether it has not ended.
    fn is_there(&self) -> bool {
        look_at(self.id).is_some_and(|seen| seen.process == *self && seen.is_alive)
    }
}

/// What the system says of a process.
struct Seen {
    process: Process,
    parent: i32,
    group: i32,
    /// In a container whose first process reaps nobody, what has ended stays in its group for ever.
    is_alive: bool,
}

#[cfg(target_os = "linux")]
fn look_at(id: Pid) -> Option<Seen> {
    let stat = std::fs::read(format!("/proc/{}/stat", id.as_raw_nonzero())).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // `pid (name) state parent group ...`, where the name may hold anything, brackets and spaces included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let is_alive = !matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // The 22nd field, of which the group is the fifth.
    let began = fields.nth(16)?.parse().ok()?;
    Some(Seen { process: Process { id, began }, parent, group, is_alive })
}

#[cfg(target_os = "linux")]
fn all() -> Option<impl Iterator<Item = Seen>> {
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    Some(ids.filter_map(look_at))
}

#[cfg(target_os = "linux")]
fn members_alive(group: Pid) -> bool {
    let group = group.as_raw_nonzero().get();
    all().is_none_or(|mut all| all.any(|seen| seen.group == group && seen.is_alive))
}

/// What descends from a group and is not in it.
#[cfg(target_os = "linux")]
fn strays(group: Pid) -> Vec<Process> {
    let group = group.as_raw_nonzero().get();
    let mut strays = Vec::new();
    let (members, mut others): (Vec<Seen>, Vec<Seen>) =
        all().into_iter().flatten().partition(|seen| seen.group == group);
    let mut parents: Vec<i32> = members.iter().map(|member| member.process.id.as_raw_nonzero().get()).collect();
    while let Some(parent) = parents.pop() {
        others.retain(|seen| {
            if seen.parent == parent {
                parents.push(seen.process.id.as_raw_nonzero().get());
                strays.push(seen.process);
            }
            seen.parent != parent
        });
    }
    strays
}

#[cfg(not(target_os = "linux"))]
fn look_at(_id: Pid) -> Option<Seen> {
    None
}

#[cfg(not(target_os = "linux"))]
fn members_alive(_group: Pid) -> bool {
    true
}

#[cfg(not(target_os = "linux"))]
fn strays(_group: Pid) -> Vec<Process> {
    Vec::new()
}
