package rufus

// Follows is how a target finds its session.
type Follows int

const (
	// Token is one fixed session, found by its token.
	Token Follows = iota
	// Device is the session that is active on a device.
	Device
)

// String returns "token" or "device".
func (f Follows) String() string {
	if f == Device {
		return "device"
	}
	return "token"
}

// Target is what to fetch: the session with a token, or that of a device. It is comparable, and printing it shows no
// secret.
type Target struct {
	Follows Follows
	ID      Secret
}
