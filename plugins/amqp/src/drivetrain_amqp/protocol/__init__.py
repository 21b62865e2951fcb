"""The AMQP protocol on one socket: the transport, its frames, and the loop that reads it."""
