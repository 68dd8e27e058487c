//! Files that are rewritten in place: what was reported of them is withdrawn, and who maps them is looked at again.

use std::sync::Arc;

use a11i_common::identity::ProcessId;

use super::{
    super::{
        elf::ElfError,
        file::{FileId, OpenedFile},
        files::{Analysed, Place},
        reported::key_of,
        scanner::ScanReport,
    },
    Mapped, Scan,
};
use crate::attach::Analysis;

impl Scan {
    /// Before a file is reported: an earlier version of the same inode is over. Where only names of it have changed since, it is the file that
    /// was reported before.
    pub(super) fn report_version(
        &mut self,
        file: OpenedFile,
        analysis: Arc<Analysis>,
        reports: &mut dyn FnMut(ScanReport),
    ) -> (OpenedFile, Arc<Analysis>) {
        // On an overlay, what moves a file's time of change may have copied it up: another inode, which has no probe of the first.
        if !file.is_on_overlay()
            && let Some((before, known)) = self.reported.renamed(file.id(), &analysis, self.generation)
        {
            return (file.known_as(before), known);
        }
        if let Some(file) = self.reported.report(file.id(), Arc::clone(&analysis), self.generation) {
            self.look_again_at(&file);
            reports(ScanReport::Changed { file });
        }
        (file, analysis)
    }

    /// Looks once per host scan at each file that was reported for a living process: was it rewritten in place?
    pub(super) fn versions_of(&mut self, process: ProcessId, reports: &mut dyn FnMut(ScanReport)) {
        let Some(known) = self.processes.get(&process) else { return };
        let namespace = known.namespace;
        for Mapped { mapping, file } in known.found.clone() {
            let Some(id) = self.reported.due(file, self.generation) else { continue };
            let place = Place::Device(mapping.device);
            let path = self.proc.path(process.pid, "map_files").join(mapping.map_files_name());
            let Some(now) = self.files.version(place, namespace, path.clone()).filter(|now| (now.dev, now.ino) == (id.dev, id.ino)) else {
                continue;
            };
            let is_same = now == id || {
                // Times of the name, not of the bytes (unlinked, renamed, linked), or bytes whose time was set back.
                (now.size, now.mtime) == (id.size, id.mtime) && {
                    let open = move || OpenedFile::open(&path);
                    let Ok(Ok(file)) = self.files.within_time(place, namespace, open) else { continue };
                    // What cannot be read now, or is being written, is asked about again.
                    let Ok(Analysed { analysis, is_stable: true, .. }) = self.files.analyse(file, namespace) else { continue };
                    match analysis {
                        Ok(analysis) => self.reported.is_same(&id, now, &analysis),
                        Err(ElfError::Read(_)) => continue,
                        Err(_) => false,
                    }
                }
            };
            if !is_same && let Some(file) = self.reported.withdraw(&id) {
                self.look_again_at(&file);
                reports(ScanReport::Changed { file });
            }
        }
    }

    /// Whoever had probes in a file found that it is not what was reported: nothing that is known of it holds.
    pub fn handle_changed(&mut self, file: &FileId) {
        self.files.forget(file);
        self.reported.withdraw_version(file);
        self.look_again_at(file);
    }

    /// Processes that map another version of the file are looked at again by the next host scan.
    fn look_again_at(&mut self, file: &FileId) {
        let key = key_of(file);
        for known in self.processes.values_mut() {
            for Mapped { mapping, .. } in known.found.extract_if(.., |mapped| mapped.file == key) {
                known.files.remove(&(mapping.device, mapping.inode));
                known.executable_kib = 0;
            }
        }
    }
}
