//! Addresses of streams (`rtmp://...`): which are known, and how they may be shown.
//!
//! An address often holds a secret: a user's password, a token in its query, the key of an RTMP stream. What a person or
//! a file gets to see of it is what [`shown`] leaves.

use crate::config::did_you_mean;

/// The schemes that are read, in the order messages list them.
pub const SCHEMES: [&str; 6] = ["rtmp", "rtmps", "rtsp", "rtsps", "http", "https"];

/// What stands where a secret was.
const HIDDEN: &str = "***";

/// Scheme and what follows it, for `rtmp://...` and its like.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
    named.then_some((scheme, rest))
}

/// True for `rtsp://...` and its like, whether its scheme is known or not.
pub fn is_address(text: &str) -> bool {
    parts(text).is_some()
}

/// True where the scheme, in any case of letters, is one of these.
pub fn is_of(address: &str, schemes: &[&str]) -> bool {
    parts(address).is_some_and(|(scheme, _)| schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)))
}

/// Splits what follows the scheme: user and password, host and port, path, query with the fragment.
fn split(rest: &str) -> (&str, &str, &str, &str) {
    let (before, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let end = before.find('/').unwrap_or(before.len());
    let (authority, path) = before.split_at(end);
    if let Some(at) = authority.rfind('@') {
        return (&authority[..at], &authority[at + 1..], path, query);
    }
    // A password with a slash in it, which should have been written %2F: still no part of what may be shown.
    let odd_port = port(authority).is_some_and(|port| port.parse::<u16>().is_err());
    match before.rfind('@').filter(|_| odd_port) {
        Some(at) => {
            let after = &before[at + 1..];
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            (&before[..at], authority, path, query)
        }
        None => ("", authority, path, query),
    }
}

/// What follows the host's colon; an IPv6 address stands in brackets.
fn port(authority: &str) -> Option<&str> {
    let behind = authority.rfind(']').map_or(authority, |bracket| &authority[bracket..]);
    behind.split_once(':').map(|(_, port)| port)
}

/// The host of an address, without its port and brackets; and its port where it names one.
pub fn host(address: &str) -> Option<(&str, Option<u16>)> {
    let (_, authority, _, _) = split(parts(address)?.1);
    let port = port(authority);
    let host = &authority[..authority.len() - port.map_or(0, |port| port.len() + 1)];
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port.and_then(|port| port.parse().ok())))
}

/// Looks whether an address can be one of a stream.
///
/// # Errors
/// What is wrong with it, and the mend; no secret of it is in the text.
pub fn check(address: &str, schemes: &[&str]) -> Result<(), String> {
    let shown = shown(address);
    let Some((scheme, rest)) = parts(address) else { return Err(format!("`{shown}` is no address")) };
    if !is_of(address, schemes) {
        let lower = scheme.to_lowercase();
        let hint = did_you_mean(&lower, schemes.iter().copied());
        let known: Vec<String> = schemes.iter().map(|known| format!("{known}://")).collect();
        return Err(format!("`{shown}`: `{scheme}://` is not known here{hint}; known are {}", known.join(", ")));
    }
    if address.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{shown}` has a blank in it: write it as %20"));
    }
    let (_, authority, path, _) = split(rest);
    if host(address).is_none() {
        return Err(format!("`{shown}` names no host: it stands behind `{scheme}://`"));
    }
    if let Some(port) = port(authority).filter(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        // A number is no secret; anything else may be half a password.
        let port = if port.chars().all(|c| c.is_ascii_digit()) { port } else { HIDDEN };
        return Err(format!(
            "`{shown}`: `{port}` is no port, a number from 1 to 65535 (a `/`, `@` or `:` in a password is written %2F, %40, %3A)"
        ));
    }
    if scheme.to_lowercase().starts_with("rtmp") && path.trim_matches('/').is_empty() {
        return Err(format!("`{shown}` names no stream: application and name must follow the host, `/APP/NAME`"));
    }
    Ok(())
}

/// An address as it may be shown: without user and password, without what its query says, and for RTMP without the last
/// part of its path, which is the key that lets one publish. What is no address is given back as it is.
pub fn shown(address: &str) -> String {
    let Some((scheme, rest)) = parts(address) else { return address.to_owned() };
    let (user, authority, path, query) = split(rest);
    let mut text = format!("{scheme}://");
    if !user.is_empty() {
        text += HIDDEN;
        text += "@";
    }
    // What stands for a port and is none may be half a password, and what follows its other half.
    if let Some(port) = port(authority).filter(|port| port.parse::<u16>().is_err()) {
        return text + &authority[..authority.len() - port.len() - 1] + "/" + HIDDEN;
    }
    text += authority;
    // `/app/key`; an app may have an instance of its own, `/app/instance/key`. A scheme that is not known may be a slip of the pen.
    let keyless = is_of(address, &["rtsp", "rtsps", "http", "https", "file"]);
    let key = path.trim_end_matches('/').rfind('/').filter(|at| *at > 0 && !keyless);
    match key {
        Some(at) => {
            text += &path[..=at];
            text += HIDDEN;
        }
        None => text += path,
    }
    if !query.is_empty() {
        text += &query[..1];
        text += HIDDEN;
    }
    text
}

/// A text with every address in it as [`shown`]: what logs, errors and files of a run are written through.
pub fn conceal(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("://") {
        return text.into();
    }
    let (mut done, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let begin = at - rest[..at].chars().rev().take_while(|c| scheme(*c)).count();
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>\\".contains(c);
        let end = rest[at..].find(ends).map_or(rest.len(), |length| at + length);
        // What closes a sentence or a bracket is not the address's.
        let address = rest[begin..end].trim_end_matches([',', ';', '.', ':', ')', ']', '}']);
        done += &rest[..begin];
        done += &shown(address);
        // Never the same place twice: `1://` has no scheme, and is passed over with its sign.
        let next = (begin + address.len()).max(at + 3);
        done += &rest[begin + address.len()..next];
        rest = &rest[next..];
    }
    (done + rest).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_an_address_is_shown() {
        for (address, expected) in [
            ("rtmp://a.example/live/k3y-of-mine", "rtmp://a.example/live/***"),
            ("rtmps://user:s3cret@a.example:443/app/one/key?token=t0ken", "rtmps://***@a.example:443/app/one/***?***"),
            ("rtsp://admin:p@ss@10.0.0.7:554/Streaming/Channels/101", "rtsp://***@10.0.0.7:554/Streaming/Channels/101"),
            ("rtsp://admin:pa/ss@10.0.0.7/1", "rtsp://***@10.0.0.7/1"),
            ("https://[::1]:8443/hls/a.m3u8?sig=abc&exp=1#t=3", "https://[::1]:8443/hls/a.m3u8?***"),
            ("rtmp://localhost/live", "rtmp://localhost/live"),
            ("http://host:s3cret/x", "http://host/***"),
            ("RTMP://h/live/key/", "RTMP://h/live/***"),
            ("clips/a.mp4", "clips/a.mp4"),
            ("https://example.com/@name/live", "https://example.com/@name/live"),
        ] {
            assert_eq!(shown(address), expected);
            assert_eq!(shown(expected), expected, "shown twice is shown once");
        }
    }

    #[test]
    fn every_address_in_a_text_is_concealed_and_the_rest_stays() {
        let text = "sources [rtmp://h/live/k1, rtsp://u:p@h/2]: failed; see \"https://h/x?token=1\". 3://x, ü://a/b/c";
        let expected = "sources [rtmp://h/live/***, rtsp://***@h/2]: failed; see \"https://h/x?***\". 3://x, ü://a/b/c";
        assert_eq!(conceal(text), expected);
        assert_eq!(conceal("nothing to hide"), "nothing to hide");
        assert_eq!(conceal("rtmp://h/a/b"), "rtmp://h/a/***");
        assert_eq!(conceal("://://"), "://://");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said_with_the_mend_and_without_the_secret() {
        let wrong = |address: &str| check(address, &SCHEMES).unwrap_err();
        let scheme = wrong("rtpm://u:s3cret@h/live/key");
        assert!(scheme.contains("`rtpm://` is not known here; did you mean `rtmp`?"), "{scheme}");
        assert!(scheme.contains("rtmp://, rtmps://, rtsp://, rtsps://, http://, https://"), "{scheme}");
        assert!(wrong("rtsp:///1").contains("names no host"));
        assert!(wrong("rtmp://h").contains("names no stream"));
        assert!(wrong("rtsp://h:99999/1").contains("`99999` is no port"));
        assert!(wrong("http://h/a b").contains("%20"));
        let password = wrong("rtsp://u:s3/cret/1");
        assert!(password.contains("%2F") && !password.contains("s3"), "{password}");
        for text in [scheme, password] {
            assert!(!text.contains("cret") && !text.contains("key"), "{text}");
        }
        for good in ["RTMP://h/live/x", "rtsp://u:p@[fe80::1]:554/1", "https://h/a.m3u8?x=1"] {
            assert_eq!(check(good, &SCHEMES), Ok(()));
        }
        assert_eq!(host("rtsp://u:p@[fe80::1]:554/1"), Some(("fe80::1", Some(554))));
        assert_eq!(host("rtmp://h/live/x"), Some(("h", None)));
    }
}
