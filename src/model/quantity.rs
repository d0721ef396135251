//! Quantities as people read them: durations and sizes.

/// A duration in the precision that fits its size: `0.05s`, `12.3s`, `4m 05s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 9.995 {
        format!("{seconds:.2}s")
    } else if seconds < 59.95 {
        format!("{seconds:.1}s")
    } else {
        let whole = seconds.round() as u64;
        format!("{}m {:02}s", whole / 60, whole % 60)
    }
}

/// A size in decimal units, as Docker shows it: `512 B`, `1.0 MB`, `865 MB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_about_three_digits() {
        let table = [(0.049, "0.05s"), (9.99, "9.99s"), (12.34, "12.3s"), (59.96, "1m 00s"), (245.4, "4m 05s")];
        for (value, text) in table {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn sizes_are_decimal() {
        let table = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_048_576, "1.0 MB"), (865_000_000, "865 MB")];
        for (value, text) in table {
            assert_eq!(bytes(value), text);
        }
    }
}
