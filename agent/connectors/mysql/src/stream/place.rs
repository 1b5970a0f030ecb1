//! Where the stream stands in the server's log.

use std::sync::Arc;

use sluice_core::Watermark;

use crate::{
    binlog::event::{Header, file_number},
    server::watermark,
};

/// The end of what was read, by file and offset.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    server: Arc<str>,
    file: String,
    number: u64,
    offset: u64,
}

impl Place {
    /// Before the server has named its first file.
    pub(crate) fn unknown(server: Arc<str>) -> Self {
        Self {
            server,
            file: String::new(),
            number: 0,
            offset: 0,
        }
    }

    /// Whether the server has named the file.
    pub(crate) fn is_known(&self) -> bool {
        !self.file.is_empty()
    }

    /// The file's name.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The offset of the next event.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on in another file.
    pub(crate) fn rotate(&mut self, file: &str, offset: u64) {
        file.clone_into(&mut self.file);
        self.number = file_number(file);
        self.offset = offset;
    }

    /// Moves behind an event. The header counts modulo 4 GiB, files may be longer.
    pub(crate) fn pass(&mut self, header: Header) {
        self.offset = self.end_of(header);
    }

    /// Where an event ends.
    pub(crate) fn end_of(&self, header: Header) -> u64 {
        if header.is_artificial() {
            return self.offset;
        }
        let low = u64::from(header.next_offset);
        let end = self.offset & !0xffff_ffff | low;
        if end < self.offset {
            end + (1 << 32)
        } else {
            end
        }
    }

    /// Moves to where a heartbeat says that the server stands.
    pub(crate) fn reach(&mut self, offset: u64) {
        self.offset = self.offset.max(offset);
    }

    /// The place by the server's own count; `None` while unknown.
    pub(crate) fn watermark(&self) -> Option<Watermark> {
        self.is_known()
            .then(|| watermark(&self.server, self.number, self.offset))
    }

    /// The same for an offset of the present file.
    pub(crate) fn watermark_offset(&self, offset: u64) -> u128 {
        u128::from(self.number) << 64 | u128::from(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(next_offset: u32) -> Header {
        Header {
            timestamp: 0,
            kind: 2,
            size: 100,
            next_offset,
            flags: 0,
        }
    }

    #[test]
    fn offsets_go_on_counting_beyond_four_gibibytes() {
        let mut place = Place::unknown("s".into());
        assert_eq!(place.watermark(), None);
        place.rotate("binlog.000003", 4);
        place.pass(header(u32::MAX - 10));
        place.pass(header(90));
        assert_eq!(place.offset(), (1 << 32) + 90);
        place.pass(header(190));
        assert_eq!(
            place.watermark().unwrap().offset,
            3 << 64 | ((1 << 32) + 190)
        );
        place.reach(7);
        assert_eq!(place.offset(), (1 << 32) + 190);
        place.rotate("binlog.000004", 4);
        assert_eq!(place.watermark().unwrap().offset, 4 << 64 | 4);
    }
}
