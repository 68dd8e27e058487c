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
fn messages_do_not_depend_on_cuts() {
    replay("aws_event_stream", a11i_fuzz::aws_event_stream);
}

#[test]
fn decoders_stay_under_their_cap_and_do_not_depend_on_cuts() {
    replay("content_coding", a11i_fuzz::content_coding);
}

#[test]
fn headers_of_files_lead_nowhere_outside() {
    replay("elf", a11i_fuzz::elf);
}

/// The files of this corpus are compiled from the look-alikes of the finders' unit tests, without a C library.
#[test]
fn whatever_is_found_in_code_is_code() {
    replay("finders", a11i_fuzz::finders);
}

/// Otherwise the changes of these files would not come near a finder.
#[test]
fn the_files_of_the_corpus_have_what_is_looked_for() {
    for name in ["boringssl", "static_openssl", "rustls", "boringssl_arm64", "rustls_arm64"] {
        let file = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/finders").join(name)).unwrap();
        assert!(a11i_fuzz::probes_found(&file) >= 3, "{name}");
    }
}

#[test]
fn tables_of_go_lead_to_instructions() {
    replay("pclntab", a11i_fuzz::pclntab);
}

#[test]
fn client_hellos_are_read_as_far_as_they_go() {
    replay("client_hello", a11i_fuzz::client_hello);
}

#[test]
fn messages_do_not_depend_on_cuts_and_end_once() {
    replay("websocket", a11i_fuzz::websocket);
}

#[test]
fn connections_of_many_streams_tell_every_exchange_to_its_end() {
    replay("h2", a11i_fuzz::h2);
}

#[test]
fn messages_of_grpc_do_not_depend_on_cuts() {
    replay("grpc", a11i_fuzz::grpc);
}

#[test]
fn lines_do_not_depend_on_cuts() {
    replay("ndjson", a11i_fuzz::ndjson);
}

#[test]
fn elements_do_not_depend_on_cuts() {
    replay("json_array", a11i_fuzz::json_array);
}

#[test]
fn forms_do_not_depend_on_cuts() {
    replay("multipart", a11i_fuzz::multipart);
}

#[test]
fn calls_of_no_format_depend_on_cuts() {
    replay("dialects", a11i_fuzz::dialects);
}

#[test]
fn every_call_of_a_conversation_ends_with_it() {
    replay("conversation", a11i_fuzz::conversation);
}

#[test]
fn messages_of_mcp_do_not_depend_on_cuts() {
    replay("mcp", a11i_fuzz::mcp);
}

#[test]
fn what_a_program_reports_of_itself_does_not_depend_on_cuts() {
    replay("own_telemetry", a11i_fuzz::own_telemetry);
}
