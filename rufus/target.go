package rufus

// Follows is how a target finds its session.
type Follows int

const (
	// Token asks for one fixed session by its token.
	Token Follows = iota
	// Device asks for the session that is active on a device.
	Device
)

// String returns "token" or "device".
func (f Follows) String() string {
	if f == Device {
		return "device"
	}
	return "token"
}

// Target is what to ask the API for: a session token or a device id. It is comparable and prints no secret.
type Target struct {
	Follows Follows
	ID      Secret
}
