//! Escapes control characters in text that is printed on a terminal.

use std::borrow::Cow;

/// Escapes the control characters of a text as `\u001b`. Names of runs, files and models may come from other users, and
/// an escape sequence in one could rewrite the screen.
///
/// Line breaks and tabs stay. The escape is also valid in a JSON string, so JSON keeps its meaning.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            escaped += &format!("\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Returns true for control characters (C0, DEL, C1) and for characters that change the direction of the text after
/// them (Boucher and Anderson, "Trojan Source", USENIX Security 2023).
fn is_unsafe(c: char) -> bool {
    let directional =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directional || c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped_and_line_breaks_and_tabs_stay() {
        assert_eq!(escape_controls("a run\tof\nmine, Müller"), "a run\tof\nmine, Müller");
        assert_eq!(escape_controls("\u{1b}]0;pwned\u{7}x\r"), "\\u001b]0;pwned\\u0007x\\u000d");
        assert_eq!(escape_controls("\u{9b}31m \u{7f} \u{202e}"), "\\u009b31m \\u007f \\u202e");
    }
}
