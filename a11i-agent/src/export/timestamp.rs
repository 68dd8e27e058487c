//! Unix nanoseconds as RFC 3339 text in UTC.

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// A point of time taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CivilTime {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    pub nanos: u64,
}

/// `2026-11-20T23:44:34.123456789Z`.
pub(crate) fn rfc3339(unix_nanos: u64) -> String {
    let t = civil(unix_nanos);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", t.year, t.month, t.day, t.hour, t.minute, t.second, t.nanos)
}

/// Proleptic Gregorian calendar, by counting 400-year cycles from 1 March of year 0, so that the leap day is a year's last.
pub(crate) const fn civil(unix_nanos: u64) -> CivilTime {
    let seconds = unix_nanos / NANOS_PER_SECOND;
    let of_day = seconds % SECONDS_PER_DAY;
    let days = seconds / SECONDS_PER_DAY + DAYS_FROM_YEAR_0_TO_1970;
    let cycle = days / DAYS_PER_400_YEARS;
    let day_of_cycle = days % DAYS_PER_400_YEARS;
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Months from March have a length pattern of 153 days in five months.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_cycle + cycle * 400 + if month <= 2 { 1 } else { 0 };
    CivilTime {
        year,
        month,
        day,
        hour: of_day / 3600,
        minute: of_day % 3600 / 60,
        second: of_day % 60,
        nanos: unix_nanos % NANOS_PER_SECOND,
    }
}

const DAYS_FROM_YEAR_0_TO_1970: u64 = 719_468;
const DAYS_PER_400_YEARS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_print_as_the_calendar_says() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_399_000_000_001), "2000-02-28T23:59:59.000000001Z");
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_709_251_200_000_000_000), "2024-03-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_767_225_599_999_999_999), "2025-12-31T23:59:59.999999999Z");
    }
}
