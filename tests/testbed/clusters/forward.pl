# forward.pl PORT HOST:PORT : takes connections on the first, and joins each to the second. The first client is told that no
# user is known here yet, as by an API server that is still starting.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

my ( $port, $to ) = @ARGV;
my $listener = IO::Socket::INET->new( LocalAddr => "127.0.0.1:$port", Listen => 128, ReuseAddr => 1 ) or die "$port: $@";
$SIG{$_} = 'IGNORE' for qw(CHLD PIPE);
$SIG{TERM} = sub { exit 0 };
for ( my $asked = 0 ; my $client = $listener->accept ; $asked++ ) {
    next if fork;
    early($client) if !$asked;
    my $server = IO::Socket::INET->new($to) or exit 1;
    my $both = IO::Select->new( $client, $server );
    while ( my @ready = $both->can_read ) {
        for my $from (@ready) {
            sysread( $from, my $piece, 65536 ) or exit 0;
            my $into = $from == $client ? $server : $client;
            for ( my $at = 0 ; $at < length $piece ; ) {
                $at += syswrite( $into, $piece, length($piece) - $at, $at ) // exit 1;
            }
        }
    }
}

sub early {
    my ($client) = @_;
    my $status = '{"kind":"Status","apiVersion":"v1","status":"Failure","code":401,"reason":"Unauthorized","message":"Unauthorized"}';
    sysread $client, my $request, 65536;
    printf $client "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length $status, $status;
    exit 0;
}
