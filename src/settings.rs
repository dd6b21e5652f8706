//! [`settings!`]: settings with their defaults, and a method that sets each.

/// Defines a type of settings: of each its name, type and default.
///
/// `of` names the type that has the methods, and how the settings are found in it. The method of a
/// setting has its name, and stores a value that is made of what it accepts: `type => value`. A
/// limit of time accepts `None`, which is no limit. Settings without methods come last.
///
/// ```text
/// settings! {
///     /// How a robot moves.
///     #[derive(Clone)]
///     pub struct Steps of Steps, |steps| steps;
///
///     limits of time:
///     /// Sets how long a step may take.
///     step_timeout = Duration::from_secs(1);
///
///     others:
///     /// Sets the length of a step.
///     length: u32 = 1, impl Into<u32> => length.into();
///
///     without methods:
///     is_left: bool = true;
/// }
/// ```
macro_rules! settings {
    (
        $(#[$doc:meta])* $vis:vis struct $name:ident of $owner:ty, |$this:ident| $settings:expr;
        $(limits of time:
        $($(#[$its_about:meta])+ $limit:ident = $longest:expr;)*
        others:)?
        $($(#[$about:meta])+ $setting:ident: $kind:ty = $default:expr, $accepted:ty => $value:expr;)*
        $(without methods:
        $($(#[$cfg:meta])? $private:ident: $its_kind:ty = $its_default:expr;)*)?
    ) => {
        $(#[$doc])*
        $vis struct $name {
            $($(pub(super) $limit: Option<std::time::Duration>,)*)?
            $(pub(super) $setting: $kind,)*
            $($($(#[$cfg])? pub(super) $private: $its_kind,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($($limit: Some($longest),)*)?
                    $($setting: $default,)*
                    $($($(#[$cfg])? $private: $its_default,)*)?
                }
            }
        }

        impl $owner {
            $($($(#[$its_about])+
            pub fn $limit(mut self, $limit: impl Into<Option<std::time::Duration>>) -> Self {
                let $this = &mut self;
                $settings.$limit = $limit.into();
                self
            })*)?

            $($(#[$about])+
            pub fn $setting(mut self, $setting: $accepted) -> Self {
                let $this = &mut self;
                $settings.$setting = $value;
                self
            })*
        }
    };
}

pub(crate) use settings;
