//! Text that cannot steer the terminal it is printed on.

use std::borrow::Cow;

/// Text with its control characters written out, as `\u001b`: names of runs, files and models come from others, and an
/// escape sequence in them could rewrite what stands on the screen.
///
/// Line breaks and tabs stay. What is written in place of a character is also a valid escape in a JSON string, so JSON
/// stays the same JSON.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            shown += &format!("\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// True for control characters (C0, DEL, C1), and for those that turn the direction of the text behind them
/// (Boucher and Anderson, "Trojan Source", USENIX Security 2023).
fn steers(c: char) -> bool {
    let directional =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directional || c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_written_out_and_lines_stay() {
        assert_eq!(visible("a run\tof\nmine, Müller"), "a run\tof\nmine, Müller");
        assert_eq!(visible("\u{1b}]0;pwned\u{7}x\r"), "\\u001b]0;pwned\\u0007x\\u000d");
        assert_eq!(visible("\u{9b}31m \u{7f} \u{202e}"), "\\u009b31m \\u007f \\u202e");
    }
}
