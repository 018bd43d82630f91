//! The reason codes.

/// Why an image is allowed or denied. The codes are part of the API: metrics, audit annotations, JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Public,
    Bound,
    WorkspaceRegistry,
    Unmanaged,
    Unchanged,
    Exempt,
    NotBound,
    NoWorkspace,
    PasswordProtected,
    UnmanagedDenied,
    HostSpelling,
    InvalidReference,
    AlwaysPullRequired,
    PullSecretMissing,
    Stale,
    RuleDenied,
}

impl Reason {
    /// Every code; the position of one is its discriminant.
    pub const ALL: [Self; 16] = [
        Self::Public,
        Self::Bound,
        Self::WorkspaceRegistry,
        Self::Unmanaged,
        Self::Unchanged,
        Self::Exempt,
        Self::NotBound,
        Self::NoWorkspace,
        Self::PasswordProtected,
        Self::UnmanagedDenied,
        Self::HostSpelling,
        Self::InvalidReference,
        Self::AlwaysPullRequired,
        Self::PullSecretMissing,
        Self::Stale,
        Self::RuleDenied,
    ];

    /// Whether the code allows.
    pub fn allows(self) -> bool {
        self <= Self::Exempt
    }

    /// The code as the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Bound => "Bound",
            Self::WorkspaceRegistry => "WorkspaceRegistry",
            Self::Unmanaged => "Unmanaged",
            Self::Unchanged => "Unchanged",
            Self::Exempt => "Exempt",
            Self::NotBound => "NotBound",
            Self::NoWorkspace => "NoWorkspace",
            Self::PasswordProtected => "PasswordProtected",
            Self::UnmanagedDenied => "UnmanagedDenied",
            Self::HostSpelling => "HostSpelling",
            Self::InvalidReference => "InvalidReference",
            Self::AlwaysPullRequired => "AlwaysPullRequired",
            Self::PullSecretMissing => "PullSecretMissing",
            Self::Stale => "Stale",
            Self::RuleDenied => "RuleDenied",
        }
    }
}
