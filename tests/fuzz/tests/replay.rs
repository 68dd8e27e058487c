//! Runs the committed corpora, and small changes of each input, through the fuzz targets on a stable compiler.

use std::{fs, path::Path};

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let input = fs::read(entry.unwrap().path()).unwrap();
        target(&input);
        let mut random = 1_u64;
        for _ in 0..500 {
            let mut changed = input.clone();
            for _ in 0..1 + random % 4 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if changed.is_empty() {
                    break;
                }
                let at = (random >> 20) as usize % changed.len();
                match random >> 61 {
                    0 => changed.truncate(at),
                    1 => drop(changed.remove(at)),
                    2 => changed.insert(at, (random >> 50) as u8),
                    3 => changed.extend_from_within(at..),
                    _ => changed[at] ^= 1 << (random >> 50 & 7),
                }
            }
            target(&changed);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

#[test]
fn records_decode_or_are_refused() {
    replay("record_decode", a11i_fuzz::record_decode);
}

#[test]
fn pieces_are_put_in_order_within_their_bound() {
    replay("reassembly", a11i_fuzz::reassembly);
}

#[test]
fn connections_tell_every_exchange_to_its_end() {
    replay("h1", a11i_fuzz::h1);
}

#[test]
fn events_do_not_depend_on_cuts() {
    replay("sse", a11i_fuzz::sse);
}

#[test]
fn decoders_stay_under_their_cap_and_do_not_depend_on_cuts() {
    replay("content_coding", a11i_fuzz::content_coding);
}

#[test]
fn messages_do_not_depend_on_cuts_and_end_once() {
    replay("websocket", a11i_fuzz::websocket);
}
