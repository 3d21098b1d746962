//! Arguments that must be UTF-8 and are not.

use std::ffi::OsString;

use clap::{Parser, error::ErrorKind};

/// Describes the first of some arguments, the program's name among them, that must be UTF-8 and is not; `None` if there is none.
/// The error of clap names neither the argument nor a remedy.
pub fn describe_invalid<C: Parser>(arguments: &[OsString]) -> Option<String> {
    let lossy: Vec<OsString> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned().into()).collect();
    let is_invalid = |at: &usize| {
        // Paths may be in any encoding, so clap is asked about this argument alone.
        let mut with_one = lossy.clone();
        with_one[*at].clone_from(&arguments[*at]);
        arguments[*at].to_str().is_none()
            && C::try_parse_from(with_one).is_err_and(|error| error.kind() == ErrorKind::InvalidUtf8)
    };
    let at = (1..arguments.len()).find(is_invalid)?;
    let option = arguments[at - 1].to_string_lossy();
    let place = if option.starts_with('-') { format!(" after `{option}`") } else { String::new() };
    Some(format!(
        "argument {at}, {:?}{place}, is not valid UTF-8: rename the file, or give a link to it (`ln -s`) whose name is",
        arguments[at]
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::args::Cli;

    fn describe(arguments: &[&[u8]]) -> Option<String> {
        let arguments: Vec<OsString> = arguments.iter().map(|bytes| OsString::from_vec(bytes.to_vec())).collect();
        describe_invalid::<Cli>(&arguments)
    }

    #[test]
    fn an_argument_that_is_not_utf8_is_named_with_a_remedy() {
        let run: [&[u8]; 5] = [b"sideline", b"run", b"flow.yml", b"--output", b"out\xff"];
        assert_eq!(describe(&run), None, "a path may be in any encoding");
        let text = describe(&[&run[..], &[b"--input", b"v/n\xff.mp4"]].concat()).unwrap();
        assert!(text.starts_with("argument 6, \"v/n\\xFF.mp4\" after `--input`, is not valid UTF-8: rename"), "{text}");
        let text = describe(&[&run[..], &[b"--input=v/n\xff.mp4"]].concat()).unwrap();
        assert!(text.starts_with("argument 5, \"--input=v/n\\xFF.mp4\", is not"), "{text}");
    }
}
