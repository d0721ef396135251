//! How many children the system lets run at the same time.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open for each child: its two streams, and what tells of its end; and one more.
const EACH: u64 = 4;

/// Files that are open for everything else.
const REST: u64 = 256;

/// Makes sure that so many children can run at the same time, and returns how many can: at least one. The soft limit of
/// open files is raised only when it is too low for them, and no further than needed, since children get it too.
pub fn make_room(children: u32) -> u32 {
    let Rlimit { current: Some(soft), maximum } = getrlimit(Resource::Nofile) else { return children };
    let wanted = REST + EACH * u64::from(children);
    if soft >= wanted {
        return children;
    }
    let most = maximum.map_or(wanted, |hard| hard.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
    fitting(if raised.is_ok() { most } else { soft }, children)
}

/// How many of the children so many open files are enough for.
fn fitting(files: u64, children: u32) -> u32 {
    let fit = files.saturating_sub(REST) / EACH;
    u32::try_from(fit).unwrap_or(u32::MAX).min(children).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_children_than_there_are_files_for_and_never_none() {
        for (files, children, fit) in [(1024, 8, 8), (1024, 500, 192), (2256, 500, 500), (64, 8, 1), (u64::MAX, 1, 1)] {
            assert_eq!(fitting(files, children), fit, "{files} files, {children} children");
        }
    }
}
