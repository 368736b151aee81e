package rufus

// Follows is how a target finds its session.
type Follows string

// The ways to find a session.
const (
	Token  Follows = "token"  // one fixed session, found by its token
	Device Follows = "device" // the session that is active on a device
)

// Target is what to fetch: the session with a token, or that of a device. It is comparable, and printing it shows no
// secret.
type Target struct {
	Follows Follows
	ID      Secret
}
