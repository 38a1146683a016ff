// What the contract does not ask: sessions that break, tokens that run out, answers that are none.
#include "store/gcs/testing_gcs.h"
