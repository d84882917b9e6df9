use strict;
use warnings;

package SyTest::HomeserverFactory::Trestle;
use base qw( SyTest::HomeserverFactory );

require SyTest::Homeserver::Trestle;

sub implementation_name { return "trestle" }

# The suite wants two servers. The second one is the first: what its tests want
# of a user elsewhere is held against a user here.
sub create_server
{
   my ( $self, %params ) = @_;
   my $server = SyTest::Homeserver::Trestle->new( %params );
   $server->{first} = $self->{first};
   $self->{first} //= $server;
   return $server;
}

1;
