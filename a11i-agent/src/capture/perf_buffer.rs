//! One CPU's buffer of perf side-band records (perf_event_open(2)): opened, mapped, read. aya's perf buffers are for output of BPF
//! programs only.
#![expect(unsafe_code, reason = "perf_event_open has no safe wrapper, and its ring is memory shared with the kernel")]

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya_obj::generated::{PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_event_mmap_page, perf_sw_ids, perf_type_id};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// See the module. The memory is unmapped before the event is closed.
pub(super) struct PerfBuffer {
    event: OwnedFd,
    /// The kernel's page of positions, then [`Self::data_bytes`] of ring.
    pages: NonNull<u8>,
    page_bytes: usize,
    data_bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; only the kernel writes to it besides, and the positions are read atomically.
unsafe impl Send for PerfBuffer {}
// SAFETY: `drain`, which moves the tail, takes `&mut self`.
unsafe impl Sync for PerfBuffer {}

impl PerfBuffer {
    /// Executable mappings of every process, made on `cpu`; each wakes the reader.
    pub(super) fn executable_mappings(cpu: u32) -> io::Result<Self> {
        // SAFETY: the structure is plain integers and unions of integers: all zeroes is a value, and the kernel's default.
        let mut attributes: perf_event_attr = unsafe { std::mem::zeroed() };
        attributes.size = u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0);
        attributes.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
        attributes.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
        // Of mappings, those with PROT_EXEC only (`mmap_data` would be the others): the kernel filters.
        attributes.set_mmap(1);
        attributes.set_mmap2(1);
        attributes.set_exclude_kernel(1);
        attributes.set_watermark(1);
        attributes.__bindgen_anon_2.wakeup_watermark = 1;
        // The kernel takes a larger structure than it knows when the rest is zero.
        // SAFETY: the attributes live through the call and carry their size; the other arguments are numbers.
        let opened = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                -1 as libc::pid_t,
                cpu,
                -1 as RawFd,
                libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
            )
        };
        let fd = RawFd::try_from(opened).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel just gave this descriptor to us alone.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        let page_bytes = rustix::param::page_size();
        let data_bytes = page_bytes.saturating_mul(DATA_PAGES);
        let length = page_bytes.saturating_add(data_bytes);
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
        let pages = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &event, 0) }?;
        let pages = NonNull::new(pages.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { event, pages, page_bytes, data_bytes })
    }

    /// Hands every waiting record to `sink` and frees its room.
    pub(super) fn drain(&mut self, scratch: &mut Vec<u8>, mut sink: impl FnMut(&[u8])) {
        let head = self.position(offset_of!(perf_event_mmap_page, data_head)).load(Ordering::Acquire);
        let tail_position = self.position(offset_of!(perf_event_mmap_page, data_tail));
        let mut tail = tail_position.load(Ordering::Relaxed);
        while tail < head {
            let waiting = head.saturating_sub(tail);
            let mut header = [0; RECORD_HEADER];
            self.copy(tail, &mut header);
            // perf_event_header: type (4), misc (2), size (2).
            let size = u64::from(u16::from_ne_bytes([header[6], header[7]]));
            if size < RECORD_HEADER as u64 || size > waiting {
                tail = head; // not what the kernel writes: nothing behind it can be placed
                break;
            }
            scratch.resize(usize::try_from(size).unwrap_or(0), 0);
            self.copy(tail, scratch);
            sink(scratch);
            tail = tail.saturating_add(size);
        }
        tail_position.store(tail, Ordering::Release);
    }

    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `offset` is that of an aligned u64 within the first page, which is mapped as long as `self` lives; the kernel and we
        // access it atomically (perf_event_open(2), "data_head", "data_tail").
        unsafe { AtomicU64::from_ptr(self.pages.as_ptr().add(offset).cast()) }
    }

    /// Bytes of the ring from position `at` on, which wrap at its end.
    fn copy(&self, at: u64, into: &mut [u8]) {
        let start = usize::try_from(at % self.data_bytes as u64).unwrap_or(0);
        let first = into.len().min(self.data_bytes.saturating_sub(start));
        let (front, back) = into.split_at_mut(first);
        // SAFETY: `start + first` is at most `data_bytes`, and so is `back.len()`, since no record is longer than the ring (its size has
        // 16 bits and was compared with what waits). The kernel does not write between tail and head.
        unsafe {
            let data = self.pages.as_ptr().add(self.page_bytes);
            std::ptr::copy_nonoverlapping(data.add(start), front.as_mut_ptr(), front.len());
            std::ptr::copy_nonoverlapping(data, back.as_mut_ptr(), back.len().min(start));
        }
    }
}

impl AsFd for PerfBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for PerfBuffer {
    fn drop(&mut self) {
        // SAFETY: made by `executable_mappings` with this length, and nothing borrows from it any more.
        let unmapped = unsafe { munmap(self.pages.as_ptr().cast(), self.page_bytes.saturating_add(self.data_bytes)) };
        if let Err(error) = unmapped {
            tracing::debug!(%error, "a perf buffer cannot be unmapped");
        }
    }
}

/// A power of two. 64 KiB hold five hundred mappings of usual names: what a storm of fifty new programs on one CPU makes before the
/// reader has its turn.
const DATA_PAGES: usize = 16;
const RECORD_HEADER: usize = 8;
