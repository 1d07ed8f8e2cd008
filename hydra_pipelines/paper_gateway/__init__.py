"""A stand-in for IB Gateway: an exchange, a broker's books and the TWS socket, in one process.

It is the other party: it knows prices and the calendar and nothing else of this project, and the
only way to trade with it is its TWS port, with any client that speaks the protocol.
"""
