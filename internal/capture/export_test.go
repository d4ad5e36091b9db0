package capture

// Restore and Unrestore are Install and Uninstall by iptables' own programs.
var (
	Restore   = restore
	Unrestore = unrestore
)
