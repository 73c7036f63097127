//! Notes that a file was used, for what goes first when room is needed.

use std::fs::File;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

/// Notes that `file` was used now: its time of modification is the kernel's. Where that fails the
/// file only goes sooner, so nobody is told.
pub fn now(file: &File) {
    let when = |nanoseconds| Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: when(UTIME_OMIT),
        last_modification: when(UTIME_NOW),
    };
    rustix::fs::futimens(file, &times).ok();
}
