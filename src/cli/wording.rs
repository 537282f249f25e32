//! What the core says names options as the library does (`hostKeys`, `trust: 'first-use'`). Here they are called as the command line
//! calls them (`--host-key`, `--trust first-use`): by its own grammar, so that there is no second list of them.

use std::collections::BTreeSet;

use clap::Command;

use super::grammar;

/// `text` with options of the library in the words of the command line. What has no option here stays.
pub(super) fn in_own_words(text: &str) -> String {
    let mut known = BTreeSet::new();
    gather(&grammar(), &mut known);
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|sign: char| sign.is_ascii_alphabetic()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|sign: char| !sign.is_ascii_alphanumeric()).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        said.push_str(before);
        rest = after;
        let value = after.strip_prefix(": '").and_then(|value| value.split_once('\''));
        // Within a path or an option that is one already, a word is no name.
        let alone = !before.ends_with(['-', '/', '.', '_', '=']) && !after.starts_with(['/', '=']);
        match (option(word, &known).filter(|_| alone), value) {
            (Some(option), Some((value, after))) => {
                said.push_str(&format!("--{option} {value}"));
                rest = after;
            }
            (Some(option), None) if is_camel(word) => said.push_str(&format!("--{option}")),
            _ => said.push_str(word),
        }
    }
    said + rest
}

/// The option of that name, which takes one where the library takes a list.
fn option<'a>(word: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    let mut kebab = String::new();
    for sign in word.chars() {
        if sign.is_ascii_uppercase() {
            kebab.push('-');
        }
        kebab.push(sign.to_ascii_lowercase());
    }
    known.get(&kebab).or_else(|| known.get(kebab.strip_suffix('s')?))
}

fn is_camel(word: &str) -> bool {
    word.starts_with(|sign: char| sign.is_ascii_lowercase())
        && word.contains(|sign: char| sign.is_ascii_uppercase())
}

fn gather(command: &Command, into: &mut BTreeSet<String>) {
    into.extend(command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)));
    command.get_subcommands().for_each(|inner| gather(inner, into));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_library_are_called_as_those_of_the_command_line_and_nothing_else_is() {
        for (text, own) in [
            ("pass it in hostKeys: SHA256:abc", "pass it in --host-key: SHA256:abc"),
            ("accept it once with trust: 'first-use'", "accept it once with --trust first-use"),
            ("set tlsCert and tlsKey to", "set --tls-cert and --tls-key to"),
            ("or acmeDomain", "or --acme-domain"),
            ("the user and its identity", "the user and its identity"),
            ("/home/hostKeys/tlsCa", "/home/hostKeys/tlsCa"),
            ("chmod 600 hostKeyOfMine", "chmod 600 hostKeyOfMine"),
            ("--tls-ca or tlsCa: größer", "--tls-ca or --tls-ca: größer"),
        ] {
            assert_eq!(in_own_words(text), own);
        }
    }
}
