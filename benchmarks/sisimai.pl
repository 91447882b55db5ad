# Reads an mbox with Sisimai (Debian: libsisimai-perl) and prints, as JSON, how long that took.
#
#     perl sisimai.pl WARMUP.mbox MAILS.mbox
#
# "seconds" are the processor's, "wall" the clock's; what is loaded at first use, the mails of the
# first file load.
use strict;
use warnings;
use Sisimai;
use Time::HiRes qw(time);

my ($warmup, $mails) = @ARGV;
my $read = Sisimai->can('rise') || Sisimai->can('make');    # its name in 5, and in 4
$read->('Sisimai', $warmup);

my $began = time;
my ($user, $system) = times;
my $found = $read->('Sisimai', $mails);
my $wall = time - $began;
my ($then_user, $then_system) = times;

printf qq({"reports": %d, "seconds": %.6f, "wall": %.6f, "version": "%s"}\n),
    scalar @{ $found || [] }, $then_user - $user + $then_system - $system, $wall, Sisimai->version;
