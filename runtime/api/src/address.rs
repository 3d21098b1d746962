//! Addresses of streams (`rtmp://...`): which are known, and how they may be shown.
//!
//! An address often holds a secret: a user's password, a token in its query, the key of an RTMP stream. What a person or
//! a file gets to see of it is what [`shown`] leaves.
//!
//! Secrets need not stand in a flow at all: `env:NAME` or `file:PATH` in place of an address, or `{env:NAME}` and
//! `{file:PATH}` within one, are resolved by [`Address::resolve`] when the node starts.

use std::{borrow::Cow, fmt, os::unix::fs::PermissionsExt, path::PathBuf};

use crate::{Error, Result, config::did_you_mean, context::find_file};

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

/// A host as it may be told of an address that is shown as `name`: one that stands behind a reference is secret.
pub fn told_host<'a>(host: &'a str, name: &str) -> &'a str {
    let is_secret = is_reference(name) || self::host(name).is_some_and(|(shown, _)| shown.contains(HIDDEN));
    if is_secret { "its host" } else { host }
}

/// Looks whether an address can be one of a stream.
///
/// # Errors
/// What is wrong with it, and the mend; no secret of it is in the text.
pub fn check(address: &str, schemes: &[&str]) -> Result<(), String> {
    let shown = shown(address);
    // What a reference stands for is not known yet; it may be any word.
    let address = &*replaced(address, |_, _| Ok("reference".into()))?;
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
    let hidden = replaced(address, |_, _| Ok(HIDDEN.into()));
    let address = hidden.as_deref().unwrap_or(address);
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

/// True for `env:NAME` and `file:PATH`, which stand for a whole address.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || (text.starts_with("file:") && !is_address(text))
}

/// True for the address of what is on the network, written out or as a reference.
pub fn is_remote(text: &str) -> bool {
    is_address(text) || is_reference(text)
}

/// An address to connect to. Only the text that it was written as is shown: what a reference stands for is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    resolved: String,
    written: String,
}

impl Address {
    /// Looks up the references of an address: environment variables of this process and files, relative ones in the
    /// folders of `search`. Blanks around a value are left out; what is put before the host's `@` is percent-encoded.
    ///
    /// # Errors
    /// `Config` where a reference stands for nothing, or the whole is no address of these schemes.
    pub fn resolve(written: &str, schemes: &[&str], search: &[PathBuf]) -> Result<Self> {
        let look_up = |reference: &str| look_up(reference, search);
        let resolved = if is_reference(written) {
            let value = look_up(written).map_err(Error::config)?;
            // Nothing of the value may be told, not even what is wrong with it.
            if check(&value, schemes).is_err() {
                let known: Vec<String> = schemes.iter().map(|known| format!("{known}://")).collect();
                return Err(Error::config(format!(
                    "`{written}` does not stand for an address that is known here ({}): look at its value",
                    known.join(", ")
                )));
            }
            value
        } else {
            let put = |reference: &str, before: &str| {
                let value = look_up(reference)?;
                Ok(if is_user_info(written, before.len()) { percent_encoded(&value) } else { value })
            };
            let resolved = replaced(written, put).map_err(Error::config)?.into_owned();
            check(written, schemes).map_err(Error::config)?;
            resolved
        };
        if resolved.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::config(format!("{}: a reference stands for a text with a blank in it", shown(written))));
        }
        Ok(Self { resolved, written: written.to_owned() })
    }

    /// What is connected to. It holds secrets: it goes to the network and nowhere else.
    pub fn resolved(&self) -> &str {
        &self.resolved
    }

    /// What messages and reports call it.
    pub fn shown(&self) -> String {
        shown(&self.written)
    }

    /// The same with each `from` replaced, as the name of a stream.
    pub fn with(&self, from: &str, to: &str) -> Self {
        Self { resolved: self.resolved.replace(from, to), written: self.written.replace(from, to) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// True where the part of an address at this byte is its user or password.
fn is_user_info(address: &str, at: usize) -> bool {
    let Some((scheme, rest)) = parts(address) else { return false };
    at < scheme.len() + "://".len() + split(rest).0.len()
}

/// The value behind `env:NAME` or `file:PATH`.
fn look_up(reference: &str, search: &[PathBuf]) -> Result<String, String> {
    let (kind, name) = reference.split_once(':').unwrap_or((reference, ""));
    let value = match kind {
        "env" => std::env::var(name).map_err(|cause| match cause {
            std::env::VarError::NotPresent => {
                format!("`{reference}`: there is no environment variable `{name}`: set it for the process of this node")
            }
            std::env::VarError::NotUnicode(_) => format!("`{reference}`: its value is not UTF-8"),
        })?,
        _ => {
            let path = find_file(name.as_ref(), search).map_err(|missing| format!("`{reference}`: {missing}"))?;
            let fail = |cause| format!("`{reference}`: {} cannot be read: {cause}", path.display());
            let mode = std::fs::metadata(&path).map_err(fail)?.permissions().mode();
            if mode & 0o004 != 0 {
                tracing::warn!(
                    file = %path.display(),
                    "holds a secret, and every user of this machine may read it: `chmod o-r` it"
                );
            }
            std::fs::read_to_string(&path).map_err(fail)?
        }
    };
    match value.trim() {
        "" => Err(format!("`{reference}` is empty: it must hold the value")),
        value => Ok(value.to_owned()),
    }
}

/// The text with a value in place of each `{env:NAME}` and `{file:PATH}`; `value` is given the reference and what stands
/// before it.
fn replaced(text: &str, value: impl Fn(&str, &str) -> Result<String, String>) -> Result<Cow<'_, str>, String> {
    let mut done = String::new();
    let mut from = 0;
    while let Some(at) = ["{env:", "{file:"].iter().filter_map(|sign| text[from..].find(sign)).min() {
        let at = from + at;
        let Some(length) = text[at..].find('}') else {
            return Err("the `{` of a reference is not closed by `}`".into());
        };
        done += &text[from..at];
        done += &value(&text[at + 1..at + length], &text[..at])?;
        from = at + length + 1;
    }
    if from == 0 {
        return Ok(text.into());
    }
    Ok((done + &text[from..]).into())
}

/// A text as it may stand before the host of an address.
fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
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

    fn resolve(written: &str, folder: &std::path::Path) -> Result<Address, String> {
        Address::resolve(written, &SCHEMES, &[folder.to_owned()]).map_err(|error| error.message)
    }

    #[test]
    fn references_stand_for_secrets_that_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cam"), "rtsp://u:s3cret@h/1\n").unwrap();
        std::fs::write(folder.path().join("key"), " k3y?backup=1 \n").unwrap();
        std::fs::write(folder.path().join("password"), "p@ss/w").unwrap();
        let whole = resolve("file:cam", folder.path()).unwrap();
        assert_eq!((whole.resolved(), whole.shown().as_str()), ("rtsp://u:s3cret@h/1", "file:cam"));
        assert_eq!(format!("{whole:?}"), "file:cam");
        let part = resolve("rtmp://h/live/{file:key}", folder.path()).unwrap();
        assert_eq!((part.resolved(), part.shown().as_str()), ("rtmp://h/live/k3y?backup=1", "rtmp://h/live/***"));
        let user = resolve("rtsp://u:{file:password}@h:8554/1", folder.path()).unwrap();
        assert_eq!((user.resolved(), user.shown().as_str()), ("rtsp://u:p%40ss%2Fw@h:8554/1", "rtsp://***@h:8554/1"));
        assert_eq!(told_host("h", &user.shown()), "h");
        assert_eq!(told_host("h", "file:cam"), "its host");
        assert_eq!(told_host("h", &shown("https://{env:HOST}:8443/x")), "its host");
        assert_eq!(check("rtsp://u:{env:NO_SUCH_VARIABLE}@h/1", &SCHEMES), Ok(()), "it is looked up at the start");
        let variable = std::env::vars().find(|(_, value)| !value.trim().is_empty() && !is_address(value)).unwrap().0;
        let other = resolve(&format!("env:{variable}"), folder.path()).unwrap_err();
        assert!(other.contains("does not stand for an address") && other.contains("rtmps://"), "{other}");
    }

    #[test]
    fn a_reference_to_nothing_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::write(folder.path().join("words"), "two words").unwrap();
        for (written, expected) in [
            ("env:NO_SUCH_VARIABLE", "there is no environment variable `NO_SUCH_VARIABLE`"),
            ("rtmp://h/live/{env:NO_SUCH_VARIABLE}", "there is no environment variable `NO_SUCH_VARIABLE`"),
            ("file:none", "none: no such file; looked for"),
            ("file:empty", "`file:empty` is empty"),
            ("rtmp://h/live/{file:words}", "a text with a blank in it"),
            ("rtmp://h/live/{env:HOME", "not closed"),
        ] {
            let told = resolve(written, folder.path()).unwrap_err();
            assert!(told.contains(expected), "{written}: {told}");
        }
        assert!(
            is_reference("env:A") && is_reference("file:a/b") && !is_reference("file:///a") && is_remote("rtmp://h/a")
        );
    }
}
