//! The signal that asks a container to end: the pod's word, then the image's, then SIGTERM.

use cri_api::v1::Signal as CriSignal;

use crate::error::{Error, Result};

const SIGTERM: u32 = 15;
/// The first two of the kernel's real-time signals are used by C libraries themselves.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// signal(7), x86; of several names for one number the first is the one that is reported.
const NAMES: [(&str, u32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", SIGTERM),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The number of the stop signal.
pub(super) fn number(asked: CriSignal, image: &str) -> Result<u32> {
    if asked != CriSignal::RuntimeDefault {
        let name = asked.as_str_name().trim_start_matches("SIGNAL_");
        return parse(name).ok_or_else(|| Error::invalid(format!("stop_signal {name}")));
    }
    if image.is_empty() {
        return Ok(SIGTERM);
    }
    parse(image)
        .ok_or_else(|| Error::invalid(format!("{image:?}, the image's stop signal, is no signal")))
}

/// As CRI names it.
pub fn to_cri(number: u32) -> CriSignal {
    let name = match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIGNAL_SIG{name}"),
        None if number == RTMIN => "SIGNAL_SIGRTMIN".into(),
        None if number == RTMAX => "SIGNAL_SIGRTMAX".into(),
        None if (RTMIN..RTMIN + 16).contains(&number) => {
            format!("SIGNAL_SIGRTMINPLUS{}", number - RTMIN)
        }
        None => format!("SIGNAL_SIGRTMAXMINUS{}", RTMAX.saturating_sub(number)),
    };
    CriSignal::from_str_name(&name).unwrap_or(CriSignal::RuntimeDefault)
}

/// Reads `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`, `SIGRTMINPLUS3`.
fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text
        .to_ascii_uppercase()
        .replace("PLUS", "+")
        .replace("MINUS", "-");
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| *number).or_else(|| real_time(name))
}

fn real_time(name: &str) -> Option<u32> {
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse().ok(),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN.checked_add(offset(rest, '+')?)?,
        (_, Some(rest)) => RTMAX.checked_sub(offset(rest, '-')?)?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(asked: CriSignal, image: &str, expected: Option<u32>) {
        assert_eq!(number(asked, image).ok(), expected, "{asked:?} {image:?}");
    }

    #[test]
    fn the_pods_word_counts_before_the_images() {
        check(CriSignal::RuntimeDefault, "", Some(15));
        check(CriSignal::RuntimeDefault, "SIGQUIT", Some(3));
        check(CriSignal::Sigusr1, "SIGQUIT", Some(10));
    }

    #[test]
    fn images_name_signals_in_several_ways() {
        for (text, expected) in [
            ("9", Some(9)),
            ("quit", Some(3)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("0", None),
            ("65", None),
            ("SIGRTMIN+31", None),
            ("SIGRTMAX-999999999999", None),
            ("SIGNOTHING", None),
        ] {
            check(CriSignal::RuntimeDefault, text, expected);
        }
    }

    #[test]
    fn every_signal_of_cri_has_a_number_that_is_told_back() {
        for value in 1..=65 {
            let signal = CriSignal::try_from(value).unwrap();
            let told = to_cri(number(signal, "").unwrap());
            assert_eq!(
                number(told, "").unwrap(),
                number(signal, "").unwrap(),
                "{signal:?}"
            );
        }
    }
}
