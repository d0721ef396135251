//! Durations and sizes as people write them.

use std::time::Duration;

/// `90s`, `2m`, `1h30m`, `500ms`, `1.5s`. Not negative, at most 100 years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    let mut last = f64::INFINITY;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        // `30m1h` is a slip, not a duration.
        if seconds >= last {
            return None;
        }
        last = seconds;
        total += number * seconds;
        rest = &rest[letters..];
    }
    (total <= 3_155_760_000.0).then(|| Duration::from_secs_f64(total))
}

/// `4g`, `512m`, `20Gi`, `1.5gb`, in bytes. Units are powers of 1024, as minikube and Docker read them.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit: f64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "k" | "kb" | "ki" | "kib" => 1024.0,
        "m" | "mb" | "mi" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * unit;
    // Above 2^53 a f64 no longer counts single bytes; no machine has that much.
    (bytes < 9_007_199_254_740_992.0).then_some(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in
            [("90s", 90.0), ("2m", 120.0), ("1h30m", 5400.0), ("500ms", 0.5), ("1.5s", 1.5), ("0s", 0.0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "30m1h", "5 minutes", "1m1m", "1e3s", "9999999999999d", "1..5s", "2M"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes() {
        for (text, bytes) in [("4g", 4 << 30), ("512m", 512 << 20), ("20Gi", 20 << 30), ("1.5kb", 1536), ("7b", 7)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "4", "g", "-4g", "4 gigs", "9999999999t"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
