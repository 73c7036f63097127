//! One container, link, worktree and gateway joined for one attempt.
