//! Process groups that end with us.

use rustix::process::{Pid, Signal, kill_process_group};

/// A child that leads a process group of its own. Dropping this kills whatever is left of the group.
///
/// Drop it before the child is waited for, or [`disarm`](Self::disarm) it: once its leader is gone, a group's number may
/// come to name another.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group of the child with this number, started with `process_group(0)`. `None` is a child that has ended.
    pub(super) fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The leader has ended by itself.
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails only when nothing is left of it, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
