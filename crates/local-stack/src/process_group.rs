//! Process groups that end with this process.

use rustix::process::{Pid, Signal, kill_process_group};

/// The process group of a child that is its leader. Dropping this value kills all remaining processes of the group.
///
/// Drop it before the child is waited for, or [`disarm`](Self::disarm) it: after the leader was waited for, the system may
/// give the id of the group to another one.
#[derive(Debug)]
pub(super) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group of the child with this process id, which was started with `process_group(0)`. `None` means a child that
    /// has ended.
    pub(super) fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Does not kill the group when this value is dropped, because the leader has ended.
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // This fails only if no process of the group is left, which is the goal.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
