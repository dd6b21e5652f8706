//! Changes of modes: [`Mode`].

use super::Text;

/// A mode that was set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The letter of the mode.
    pub letter: char,
    /// The parameter, if the mode has one.
    pub param: Option<Text>,
}

/// Modes that were set, and modes that were removed.
pub(super) type Changes = (Vec<Mode>, Vec<Mode>);

/// Parses `+ov-l` and its parameters; `takes_param` says which modes have one. A missing sign is
/// `+`. Returns `None` when there are too many parameters, or too few.
pub(super) fn parse(
    modes: &[u8],
    params: &[Text],
    takes_param: impl Fn(u8, bool) -> bool,
) -> Option<Changes> {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut params = params.iter();
    let mut is_set = true;
    for byte in modes {
        match byte {
            b'+' => is_set = true,
            b'-' => is_set = false,
            _ => {
                let param = match takes_param(*byte, is_set) {
                    true => Some(params.next()?.clone()),
                    false => None,
                };
                let list = if is_set { &mut added } else { &mut removed };
                list.push(Mode {
                    letter: char::from(*byte),
                    param,
                });
            }
        }
    }
    params.next().is_none().then_some((added, removed))
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::super::Support;
    use super::*;

    fn shown(modes: &[Mode]) -> String {
        let each = modes.iter().map(|mode| match &mode.param {
            Some(param) => format!("{}={param}", mode.letter),
            None => mode.letter.to_string(),
        });
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn modes_have_parameters_by_what_the_server_has_announced() {
        let mut support = Support::default();
        support.update(["CHANMODES=beI,k,lj,imnpst", "PREFIX=(qaohv)~&@%+"]);
        // Modes, parameters, added, removed; `!` is a refusal.
        let table = [
            ("+o", "ada", "o=ada", ""),
            ("o", "ada", "o=ada", ""),
            ("-o", "ada", "", "o=ada"),
            ("+ov-h", "a b c", "o=a v=b", "h=c"),
            ("+l", "10", "l=10", ""),
            ("-l", "", "", "l"),
            ("+l", "", "!", ""),
            ("-l", "10", "!", ""),
            ("+k-k", "x y", "k=x", "k=y"),
            ("-k", "", "!", ""),
            ("+b-e", "m n", "b=m", "e=n"),
            ("+im-st", "", "i m", "s t"),
            ("+i", "more", "!", ""),
            ("+q~", "x", "q=x ~", ""),
            ("-+o", "x", "o=x", ""),
            ("+-o", "x", "", "o=x"),
            ("+", "", "", ""),
            ("", "", "", ""),
            ("+o", "", "!", ""),
            ("+j-j", "1:2", "j=1:2", "j"),
        ];
        for (modes, params, added, removed) in table {
            let params: Vec<Text> = params.split_whitespace().map(Text::from).collect();
            let takes_param = |mode, is_set| support.takes_param(mode, is_set);
            let found = parse(modes.as_bytes(), &params, takes_param);
            let expected = (added != "!").then(|| (added.to_owned(), removed.to_owned()));
            let found = found.map(|(added, removed)| (shown(&added), shown(&removed)));
            assert_eq!(found, expected, "{modes} {params:?}");
        }
    }
}
