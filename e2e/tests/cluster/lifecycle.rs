//! What happens to a pipeline from its first object to its last: it waits for what it needs, follows
//! its spec, is paused, restarted, copied again, moved to another image, and goes.

mod changes;
mod images;
mod needs;
mod pause;
mod replica_ids;
mod resnapshot;
mod source;
mod unreadable;
