//! What is read of bodies: labelled wrongly, in parts, too large, of wrong types, or none that can be read.

use super::*;

#[test]
fn the_body_knows_better_than_its_label() {
    for (label, body) in [
        ("application/json", ANSWER),
        ("text/event-stream", ANSWER),
        ("", ANSWER),
        ("text/plain", ANSWER),
        ("text/event-stream; charset=utf-8", EVENTS),
        ("TEXT/EVENT-STREAM", EVENTS),
        ("", EVENTS),
        ("application/octet-stream", EVENTS),
    ] {
        let padded = [b"\r\n \n".as_slice(), body].concat();
        for cut in [0, 1, 5, 9, padded.len()] {
            let (first, rest) = padded.split_at(cut);
            let pieces: Vec<&[u8]> = [first, rest].into_iter().filter(|piece| !piece.is_empty()).collect();
            let call = Peer::chat(&[REQUEST], 200, label, &pieces, FINISHED);
            assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(5), Some(2)), "{label} cut at {cut}");
            assert_eq!(call.response.finish_reasons, ["stop"]);
            assert_eq!(call.outcome.error_type, None);
        }
    }
}

#[test]
fn a_mark_before_a_body_is_no_part_of_it() {
    let marked = |body: &[u8]| [&b"\xef\xbb\xbf"[..], body].concat();
    let (request, answer) = (marked(REQUEST), marked(ANSWER));
    for label in ["application/json", "text/event-stream", ""] {
        for cut in [0, 1, 2, 3, 4] {
            let (head, tail) = answer.split_at(cut);
            let pieces: Vec<&[u8]> = [head, tail].into_iter().filter(|piece| !piece.is_empty()).collect();
            let call = Peer::chat(&[&request], 200, label, &pieces, FINISHED);
            assert_eq!((call.request.model.as_deref(), call.usage.input_tokens), (Some("m"), Some(5)), "{label} cut at {cut}");
        }
    }
}

#[test]
fn space_before_a_text_is_no_part_of_it_however_it_is_cut() {
    let read = |pieces: &[&[u8]]| {
        let mut peer = Peer::new();
        peer.begin("api.openai.com", "/v1/audio/transcriptions", "multipart/form-data; boundary=x");
        peer.tell(1, HttpEventKind::RequestBody(b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n"));
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let call = peer.respond(1, 200, "text/plain", pieces, FINISHED).unwrap();
        let [Message { parts, .. }] = &call.content.output_messages[..] else { panic!("{call:?}") };
        parts.clone()
    };
    for body in [" \n\tyes  and no \n", "\u{feff} \n\tyes  and no \n", " \u{feff}\tyes  and no \n"] {
        for cut in 1..body.len() {
            let (front, back) = body.as_bytes().split_at(cut);
            assert_eq!(read(&[front, back]), [Part::Text { content: "yes  and no \n".to_owned() }], "{body:?} cut at {cut}");
        }
    }
}

#[test]
fn what_is_asked_is_read_before_an_answer_that_comes_before_its_end_is_told() {
    for request in [
        REQUEST.to_vec(),
        [b"\xef\xbb\xbf", REQUEST].concat(),
        REQUEST.strip_suffix(b"}").unwrap().to_vec().into_iter().chain(*b",\"top_p\":NaN}").collect(),
    ] {
        let mut peer = Peer::new();
        peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[&request]);
        // Only what was asked tells that this is a stream.
        let call = peer.respond(1, 200, "text/plain", &[EVENTS], FINISHED).unwrap();
        assert_eq!((call.request.stream, call.usage.input_tokens), (true, Some(5)), "{}", String::from_utf8_lossy(&request));
    }
}

#[test]
fn a_text_that_is_cut_within_a_character_costs_no_number() {
    for cut in [&b"\\ud83d"[..], b"\xe2\x82"] {
        let with = |body: &[u8]| {
            let at = body.windows(2).position(|two| two == b"yo" || two == b"hi").unwrap();
            let (before, after) = body.split_at(at);
            [before, cut, after].concat()
        };
        for (label, answer) in [("application/json", ANSWER), ("text/event-stream", EVENTS)] {
            let call = Peer::chat(&[&with(REQUEST)], 200, label, &[&with(answer)], FINISHED);
            assert_eq!((call.request.model.as_deref(), call.usage.input_tokens), (Some("m"), Some(5)), "{label}");
            assert_eq!(call.estimation.output.text(), "\u{fffd}yo", "{label}");
            assert_eq!(call.response.finish_reasons, ["stop"], "{label}");
        }
    }
}

#[test]
fn wrong_types_cost_only_their_own_field() {
    let request = br#"{"model":7,"messages":"x","stream":"yes","temperature":"0.5","max_tokens":12.0,"n":null,"stop":{"a":1},"tools":{},"seed":"x","top_p":0.1}"#;
    let response = br#"{"id":["x"],"model":"m-1","choices":{"0":1},"usage":{"prompt_tokens":-5,"completion_tokens":"2","prompt_tokens_details":7,"completion_tokens_details":{"reasoning_tokens":1e99}}}"#;
    let call = Peer::chat(&[request], 200, "application/json", &[response], FINISHED);
    assert_eq!((call.request.model.as_deref(), call.request.stream, call.request.temperature), (Some("7"), false, Some(0.5)));
    assert_eq!((call.request.max_tokens, call.request.top_p, call.request.seed), (Some(12), Some(0.1), None));
    assert_eq!((call.response.id, call.response.model.as_deref()), (None, Some("m-1")));
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens, call.usage.reasoning_output_tokens), (None, Some(2), None));
}

#[test]
fn what_is_not_json_keeps_the_call_and_says_nothing_false() {
    for body in [&b"not json"[..], b"\xff\xfe\x00", b"[[[[", b"{\"model\": \"m\", \xff", b"\x1f\x8b\x08"] {
        let call = Peer::chat(&[body], 200, "application/json", &[body], FINISHED);
        assert!(call.usage.is_absent() && call.response.finish_reasons.is_empty(), "{body:?}");
        assert_eq!((call.outcome.error_type, call.completeness), (None, Completeness::Whole));
    }
}

#[test]
fn a_body_that_does_not_decode_is_missing_all_the_same() {
    let end = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Malformed(MalformedReason::ContentCoding) };
    let call = Peer::chat(&[REQUEST], 200, "application/json", &[], end);
    assert!(!call.completeness.is_whole() && call.outcome.error_type.is_none());
}

#[test]
fn parameters_on_both_sides_of_a_gap_are_recovered() {
    let mut peer = Peer::new();
    peer.request(
        1,
        Some("api.openai.com"),
        "/v1/chat/completions",
        &[br#"{"model":"m","messages":[{"content":"aa"#, b"", br#"a"}],"stream":true}"#],
    );
    let gap = Completeness::Gap { lost: Some(9), causes: LossCauses(1) };
    peer.tell(1, HttpEventKind::RequestEnd(BodyEnd { completeness: gap, framing: FramingEnd::Finished }));
    let call = peer.respond(1, 200, "text/event-stream", &[EVENTS], FINISHED).unwrap();
    assert_eq!((call.request.model.as_deref(), call.request.stream, call.completeness), (Some("m"), true, gap));
    assert_eq!(call.usage.input_tokens, Some(5));
}

#[test]
fn a_request_answered_before_its_end_keeps_what_was_seen_of_it() {
    let mut peer = Peer::new();
    peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[br#"{"model":"m","temperature":0.5,"messages":[{"ro"#]);
    let call = peer.respond(1, 413, "text/html", &[b"<html>"], FINISHED).unwrap();
    assert_eq!((call.request.model.as_deref(), call.request.temperature), (Some("m"), Some(0.5)));
    assert_eq!(call.outcome.error_type.as_deref(), Some("413"));
}

#[test]
fn a_body_beyond_the_cap_keeps_its_parameters() {
    let piece = vec![b'x'; 1024 * 1024];
    let mut body: Vec<&[u8]> = vec![br#"{"model":"m","messages":[{"role":"user","content":""#];
    body.extend(std::iter::repeat_n(piece.as_slice(), 9));
    body.push(br#""}],"stream":true,"seed":4}"#);
    let call = Peer::chat(&body, 200, "text/event-stream", &[EVENTS], FINISHED);
    assert_eq!((call.request.model.as_deref(), call.request.stream, call.request.seed), (Some("m"), true, Some(4)));
    assert!(call.content.truncated && call.completeness.is_whole());
}

#[test]
fn a_prompt_of_four_megabytes_is_read_whole() {
    let text = "z".repeat(4 * 1024 * 1024);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"m"}}"#);
    let call = Peer::chat(&[body.as_bytes()], 200, "application/json", &[ANSWER], FINISHED);
    assert_eq!(call.request.model.as_deref(), Some("m"));
    assert_eq!(call.estimation.input.total_bytes(), 4 * 1024 * 1024);
    assert!(call.content.truncated, "more than the cap for content");
}

#[test]
fn a_million_empty_objects_cost_no_memory_to_speak_of() {
    let body = format!(r#"{{"model":"m","messages":[{}{{}}],"tools":[{}{{}}]}}"#, "{},".repeat(300_000), "{},".repeat(300_000));
    let call = Peer::chat(&[body.as_bytes()], 200, "application/json", &[ANSWER], FINISHED);
    assert_eq!((call.estimation.input_messages, call.estimation.tool_definitions), (300_001, 300_001));
    assert!(call.content.input_messages.len() <= crate::call::MAX_MESSAGES && call.content.truncated);
}

#[test]
fn a_form_tells_what_is_asked_for_and_its_media_is_passed_over() {
    const FORM: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\xff\x00\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--x--";
    for cut in 0..=FORM.len() {
        let mut peer = Peer::new();
        peer.begin("speech.local", "/v1/audio/transcriptions", "multipart/form-data; boundary=x");
        let (first, rest) = FORM.split_at(cut);
        for piece in [first, rest].into_iter().filter(|piece| !piece.is_empty()) {
            peer.tell(1, HttpEventKind::RequestBody(piece));
        }
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let call = peer.respond(1, 200, "text/plain", &[b"hello"], FINISHED).unwrap();
        assert_eq!((call.request.model.as_deref(), call.operation.as_str()), (Some("whisper"), "transcription"), "cut at {cut}");
        assert_eq!(call.outcome.error_type, None);
    }
}
