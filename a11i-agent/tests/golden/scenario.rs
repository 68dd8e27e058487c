//! This project's own exchanges, as they lie there and taken apart, so that they can be framed anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use a11i_agent::replay::{Framed, Message, Record, Request, Response};

/// A folder of the corpus.
pub(crate) struct Scenario {
    pub(crate) folder: PathBuf,
    /// Byte for byte.
    pub(crate) framed: Framed,
    pub(crate) record: Record,
    /// The answer breaks off.
    pub(crate) is_cut: bool,
}

/// Folders `<provider>/<scenario>`.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let folders =
        |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect::<Vec<_>>();
    let mut out: Vec<PathBuf> = folders(&root).iter().flat_map(|provider| folders(provider)).collect();
    out.sort();
    assert!(out.len() >= 20, "the corpus is missing");
    out.into_iter().map(Scenario::read).collect()
}

impl Scenario {
    fn read(folder: PathBuf) -> Self {
        let read = |name| fs::read(folder.join(name)).unwrap();
        let framed = Framed::exchange(read("request.http"), read("response.http"));
        let (start, request, _) = parse(&framed.request);
        let [method, path, _] = <[&str; 3]>::try_from(start.split(' ').collect::<Vec<_>>()).unwrap();
        let host = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value.clone());
        let (line, response, is_cut) = parse(&framed.response);
        let record = Record {
            id: folder.display().to_string(),
            request: Request { method: method.to_owned(), host: host.unwrap_or_default(), path: path.to_owned(), message: request },
            response: Response { status: line.split(' ').nth(1).unwrap().parse().unwrap(), message: response },
        };
        Self { folder, framed, record, is_cut }
    }

    pub(crate) fn name(&self) -> std::path::Display<'_> {
        self.folder.display()
    }
}

/// First line, message, and whether its body breaks off. The corpus has bodies by length and in chunks, none of them coded.
fn parse(bytes: &[u8]) -> (String, Message, bool) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap().to_owned();
    let mut headers: Vec<(String, String)> =
        lines.map(|line| line.split_once(':').unwrap()).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let take = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let (length, transfer) = (take("content-length"), take("transfer-encoding"));
    assert!(take("content-encoding").is_none(), "{start}");
    headers.retain(|(name, _)| !["content-length", "transfer-encoding"].iter().any(|set| name.eq_ignore_ascii_case(set)));
    let mut rest = &bytes[end + 4..];
    if transfer.is_none() {
        let told = length.map_or(0, |length| length.parse().unwrap());
        return (start, Message { headers, body: rest.to_vec() }, rest.len() < told);
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let chunk = &rest[line + 2..];
        if size == 0 {
            return (start, Message { headers, body }, false);
        }
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    (start, Message { headers, body }, true)
}
