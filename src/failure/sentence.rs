//! Errors that say one sentence.

/// Implements `Display` and `Error` for types that say one sentence, in which their fields may
/// stand; one of the fields may be the source.
macro_rules! errors {
    ($($name:ident $({ $($field:ident),+ })?: $text:literal $(, source $source:ident)?;)+) => {
        $(impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(let Self { $($field),+, .. } = self;)?
                write!(f, $text)
            }
        }

        impl std::error::Error for $name {
            $(fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.$source)
            })?
        })+
    };
}
pub(crate) use errors;
