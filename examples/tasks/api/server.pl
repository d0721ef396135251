# Answers GET with what routes.pl says for the path.
use strict;
use warnings;
use IO::Socket::INET;

$SIG{TERM} = sub { exit 0 };
my %routes = do '/srv/routes.pl';
my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die "port 8080: $!";
while (my $client = $server->accept) {
    my ($path) = (<$client> // '') =~ m{^GET (/\S*)} or next;
    while (<$client>) { last if /^\r?\n$/ }
    my ($status, $answer) = exists $routes{$path} ? ('200 OK', $routes{$path}) : ('404 Not Found', '{}');
    print $client "HTTP/1.1 $status\r\nContent-Type: application/json\r\nContent-Length: ", length $answer,
        "\r\nConnection: close\r\n\r\n$answer";
}
