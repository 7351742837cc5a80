//! The currencies that can be paid in.

use iso_currency::Currency;

/// Money in circulation: the codes of ISO 4217 list one (SIX Group, published 2026-01-01) that have minor
/// units, without its fund codes (BOV, CHE, CHW, CLF, COU, MXV, USN, UYI) and two units of account that
/// nobody can pay with (UYW, XAD). Metals, test codes and the like have no minor units. In the order of
/// the alphabet.
const IN_CIRCULATION: [&str; 155] = [
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BHD",
    "BIF", "BMD", "BND", "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF",
    "CLP", "CNY", "COP", "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN",
    "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD",
    "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK", "JMD", "JOD", "JPY", "KES",
    "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL",
    "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN",
    "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP",
    "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK",
    "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT",
    "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VED", "VES",
    "VND", "VUV", "WST", "XAF", "XCD", "XCG", "XOF", "XPF", "YER", "ZAR", "ZMW", "ZWG",
];

/// Decimals of the minor unit of a currency in circulation: 2 for GBP, 0 for JPY. `None` for any other
/// code.
pub(crate) fn minor_unit_digits(code: &str) -> Option<usize> {
    IN_CIRCULATION.binary_search(&code).ok()?;
    Currency::from_code(code)?.exponent().map(usize::from)
}

#[cfg(test)]
mod tests {
    use iso_currency::IntoEnumIterator as _;

    use super::*;

    /// What the crate knows and nobody pays with: withdrawn codes, funds and units of account.
    const NOT_IN_CIRCULATION: [&str; 15] = [
        "BGN", "BOV", "CHE", "CHW", "CLF", "COU", "CUC", "HRK", "MXV", "SLL", "USN", "UYI", "UYW",
        "XAD", "ZWL",
    ];

    /// A new edition of the crate may bring a currency: then somebody decides whether it can be paid in.
    #[test]
    fn every_currency_with_minor_units_is_paid_in_or_named_as_one_that_is_not() {
        let mut known: Vec<&str> = Currency::iter()
            .filter(|currency| currency.exponent().is_some())
            .map(|currency| currency.code())
            .collect();
        known.sort_unstable();
        let mut decided = [&IN_CIRCULATION[..], &NOT_IN_CIRCULATION[..]].concat();
        decided.sort_unstable();
        assert_eq!(known, decided);
    }

    #[test]
    fn a_currency_has_the_minor_units_of_list_one() {
        assert!(IN_CIRCULATION.is_sorted());
        let none = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
        let three = "BHD IQD JOD KWD LYD OMR TND";
        for code in IN_CIRCULATION {
            let digits = match code {
                code if none.contains(code) => 0,
                code if three.contains(code) => 3,
                _ => 2,
            };
            assert_eq!(minor_unit_digits(code), Some(digits), "{code}");
        }
        for code in
            NOT_IN_CIRCULATION.into_iter().chain(["XAU", "XDR", "XTS", "XXX", "ZZZ", "gbp", ""])
        {
            assert_eq!(minor_unit_digits(code), None, "{code}");
        }
    }
}
