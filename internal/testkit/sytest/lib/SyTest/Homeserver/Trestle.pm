use strict;
use warnings;

# A server of the suite: the binary that TRESTLE names, as a process with a
# folder of its own.
package SyTest::Homeserver::Trestle;
use base qw( SyTest::Homeserver );

use Cwd qw( getcwd );
use File::Path qw( make_path remove_tree );
use Future;
use JSON ();
use SyTest::SSL qw( ensure_ssl_key create_ssl_cert );
use YAML::XS ();

sub _init
{
   my ( $self, $args ) = @_;
   $self->SUPER::_init( $args );
   $self->{port} = main::alloc_port( "trestle[$self->{hs_index}]" );
   $self->{federation} = main::alloc_port( "trestle[$self->{hs_index}].federation" );
}

sub server { my $self = shift; return $self->{first} // $self }
sub federation_host { my $self = shift; return $self->{bind_host} }
sub federation_port { my $self = shift; return $self->server->{federation} }
sub secure_port { my $self = shift; return $self->server->{port} }
sub server_name { my $self = shift; return $self->{bind_host} . ":" . $self->federation_port }
sub public_baseurl { my $self = shift; return "https://" . $self->{bind_host} . ":" . $self->secure_port }

sub start
{
   my $self = shift;
   return Future->done if $self->{first};

   my ( $dir, $host, $suite ) = ( $self->{hs_dir}, $self->{bind_host}, getcwd );
   remove_tree( "$dir/data", "$dir/appservices" );
   make_path( "$dir/data", "$dir/appservices" );
   ensure_ssl_key( "$dir/tls.key" );
   create_ssl_cert( "$dir/tls.crt", "$dir/tls.key", $host );
   $self->_register( $_ ) foreach @{ $self->{app_service_config_files} // [] };

   my $config = $self->write_yaml_file( "trestle.yaml", $self->_config( $dir, $host, $suite ) );
   return $self->_start_process_and_await_connectable(
      setup        => [ env => { %ENV, LOG => "$dir/trestle.log", SSL_CERT_FILE => "$suite/keys/ca.crt" } ],
      command      => [ "/bin/sh", "-c", 'exec "$0" "$@" 2>"$LOG"', $ENV{TRESTLE}, "serve", "--config", $config ],
      connect_host => $host,
      connect_port => $self->secure_port,
      name         => "trestle",
   );
}

# Services of the suite send what they like, as fast as they like.
sub _register
{
   my ( $self, $file ) = @_;
   my ( $name ) = $file =~ m{([^/]+)$};
   my $registration = YAML::XS::LoadFile( $file );
   $registration->{rate_limited} = JSON::false;
   local $YAML::XS::Boolean = "JSON::PP";
   YAML::XS::DumpFile( "$self->{hs_dir}/appservices/$name", $registration );
}

sub _config
{
   my ( $self, $dir, $host, $suite ) = @_;
   my @here = ( "127.0.0.0/8", "::1/128" );
   my $captcha = $self->{recaptcha_config};
   my %config = (
      server_name                => $self->server_name,
      public_base_url            => $self->public_baseurl,
      data                       => "$dir/data",
      listen                     => [ "tls:$host:" . $self->secure_port ],
      federation_listen          => [ "$host:" . $self->federation_port ],
      tls_cert                   => "$dir/tls.crt",
      tls_key                    => "$dir/tls.key",
      ca_file                    => "$suite/keys/ca.crt",
      appservices                => [ "$dir/appservices" ],
      registration_shared_secret => "reg_secret",
      open_registration          => JSON::true,
      no_rate_limits             => JSON::true,
      no_bridges                 => JSON::true,
      registration               => { email => "optional", guests => JSON::true },
      passwords                  => { min_length => 4, at_once => 4 },
      mail => {
         relay    => "$self->{smtp_server_config}{host}:$self->{smtp_server_config}{port}",
         security => "none",
         from     => 'trestle@localhost',
      },
      pushers  => { allow_http => JSON::true, allow_addresses => [ @here ] },
      accounts => { identity_servers => [ "$host:$ENV{IDENTITY_PORT}" ] },
      media    => { previews => { allow_addresses => [ @here ], ports => [] } },
      rooms    => { default_version => $ENV{ROOM_VERSION} },
   );
   $config{database} = $ENV{DATABASE} if $ENV{DATABASE};
   # Whoever wants to register has to solve it, in every test.
   $config{registration}{captcha} = {
      site_key => $captcha->{public_key},
      secret   => $captcha->{private_key},
      verifier => $captcha->{siteverify_api},
   } if $ENV{CAPTCHA};
   return \%config;
}

1;
