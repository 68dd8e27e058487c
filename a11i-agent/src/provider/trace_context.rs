//! The program's own span, from the request's headers: W3C Trace Context level 1, else B3 (single field, then many).

use crate::{call::TraceParent, http::Headers};

pub(super) fn parent(headers: &Headers) -> Option<TraceParent> {
    w3c(headers).or_else(|| b3_single(headers)).or_else(|| b3_multi(headers))
}

fn w3c(headers: &Headers) -> Option<TraceParent> {
    headers.text("traceparent").and_then(traceparent)
}

/// `version-trace_id-parent_id-flags`. A later version may append fields (section 3.2.2.1); version ff is invalid.
pub(super) fn traceparent(text: &str) -> Option<TraceParent> {
    let mut fields = text.trim().split('-');
    let version: [u8; 1] = hex(fields.next()?)?;
    let trace_id = hex(fields.next()?)?;
    let span_id = hex(fields.next()?)?;
    let [flags] = hex(fields.next()?)?;
    let surplus = version == [0] && fields.next().is_some();
    valid(trace_id, span_id, flags & 1 == 1).filter(|_| version != [0xff] && !surplus)
}

/// `b3: trace-span[-sampled[-parent]]`.
fn b3_single(headers: &Headers) -> Option<TraceParent> {
    let mut fields = headers.text("b3")?.trim().split('-');
    let trace_id = b3_trace_id(fields.next()?)?;
    let span_id = hex(fields.next()?)?;
    valid(trace_id, span_id, matches!(fields.next(), Some("1" | "d")))
}

fn b3_multi(headers: &Headers) -> Option<TraceParent> {
    let trace_id = b3_trace_id(headers.text("x-b3-traceid")?)?;
    let span_id = hex(headers.text("x-b3-spanid")?)?;
    valid(trace_id, span_id, matches!(headers.text("x-b3-sampled"), Some("1" | "true")) || headers.text("x-b3-flags") == Some("1"))
}

/// 128 or 64 bits; the short form is padded on the left.
fn b3_trace_id(text: &str) -> Option<[u8; 16]> {
    hex(text).or_else(|| {
        let low: [u8; 8] = hex(text)?;
        Some(u128::from(u64::from_be_bytes(low)).to_be_bytes())
    })
}

fn valid(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Option<TraceParent> {
    (trace_id != [0; 16] && span_id != [0; 8]).then_some(TraceParent { trace_id, span_id, sampled })
}

/// Exactly `N` bytes as lower- or upper-case hex digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.push((*name).to_owned(), HeaderValue::Text((*value).to_owned()));
        }
        headers
    }

    #[test]
    fn traceparent_is_read_by_its_standard() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent_of = |value: &str| parent(&headers(&[("traceparent", value)]));
        let read = parent_of(good).unwrap();
        assert_eq!((read.trace_id[0], read.span_id[7], read.sampled), (0x0a, 0x31, true));
        assert!(!parent_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap().sampled);
        assert!(parent_of("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").is_some());
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            assert_eq!(parent_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn b3_is_read_in_both_forms() {
        let single = parent(&headers(&[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")])).unwrap();
        let many =
            headers(&[("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1"), ("x-b3-sampled", "1")]);
        assert_eq!(parent(&many), Some(single));
        let short = parent(&headers(&[("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1")])).unwrap();
        assert_eq!((short.trace_id[7], short.trace_id[8], short.sampled), (0, 0x64, false));
        assert_eq!(parent(&headers(&[("b3", "0")])), None);
    }
}
