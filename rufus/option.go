package rufus

// Option is a value that the API may omit. Unlike a plain value, it distinguishes absent from zero. Its zero value is
// absent.
type Option[T any] struct {
	value T
	ok    bool
}

// Some returns an Option that holds value.
func Some[T any](value T) Option[T] { return Option[T]{value: value, ok: true} }

// Get returns the value and whether there is one.
func (o Option[T]) Get() (value T, ok bool) { return o.value, o.ok }
