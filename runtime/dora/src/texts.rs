//! Texts of dora that are looked into, because its interface has no other sign. They are checked again when dora is raised.

/// True for the text of the error that a receive returns when its time is over.
pub fn is_timeout(text: &str) -> bool {
    text.contains("Receiver timed out")
}

#[cfg(test)]
mod tests {
    /// The version of dora whose source has the texts of this file.
    const CHECKED: &str = "1.1.0";

    #[test]
    fn the_texts_are_those_of_the_dora_that_is_built() {
        let lock = include_str!("../../../Cargo.lock");
        let version = lock.split("[[package]]").find(|package| package.contains("name = \"dora-node-api\"\n"));
        assert!(
            version.is_some_and(|package| package.contains(&format!("version = \"{CHECKED}\"\n"))),
            "dora was raised: look whether `EventStream::recv_timeout` still says `Receiver timed out`, then raise CHECKED"
        );
        assert!(super::is_timeout("Receiver timed out"));
    }
}
