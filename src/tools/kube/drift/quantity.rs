//! Quantities as Kubernetes writes them: `500m`, `0.5`, `64Mi`, `1e3`.

/// Whether two texts are the same quantity. False when one of them is none.
pub(super) fn same(a: &str, b: &str) -> bool {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// A quantity as a fraction in lowest terms, which is exact where a float would not be.
fn parse(text: &str) -> Option<(i128, i128)> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let below = 10i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let (times, over) = scale(suffix)?;
    let (mut top, mut bottom) = (digits.checked_mul(times)?, below.checked_mul(over)?);
    let divisor = gcd(top, bottom);
    if divisor != 0 {
        top /= divisor;
        bottom /= divisor;
    }
    Some((if negative { -top } else { top }, bottom))
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    let scale = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    Some(scale)
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_quantity_has_many_forms() {
        for (a, b) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1", "1000m"),
            ("1e3", "1k"),
            ("0.1", "100m"),
            ("1.5Gi", "1536Mi"),
            ("0", "0Mi"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [("1", "1m"), ("1M", "1Mi"), ("64Mi", "65Mi"), ("web", "web"), ("", ""), ("1x", "1x"), (".", ".")]
        {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
