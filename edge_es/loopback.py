"""Which hosts are this machine and no other. Its own file: who is told a token hangs on it, in three places."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Does this address or name, an IPv6 one in brackets or not, reach only this machine?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name: 127.example.org is anyone's
        return host.lower() == "localhost"
