/* replace.pml: an instance is replaced under its name and address   (S1; README.md says what that is)
 *
 * Instance 1 (A) serves the name; it ends at any time and instance 2 (B) takes its name, address, port and, since
 * buffer IDs are counted per instance and the memory may lie the same way, the same buffer ID, address and key.
 * A peer has operations bound to the instance of the snapshot they were made from. Paths outlive sessions.
 * -DRDMA: the target's CPU sees nothing but the handshake; else TCP, where every request names its target instance.
 */
byte here = 1;               /* who answers at the address */
byte snap = 1;               /* instance of the adopted descriptor (the name's view) */
byte path = 0;               /* data path of the peer: instance whose handler or QP is at the other end, 0 none */
byte pinst = 0;              /* instance that the peer thinks it has it with */
byte op = 0, stage = 0;      /* operation under way: instance it is bound to; 1 entered, 2 posted */
byte opath = 0;              /* the other end of the path it was posted on */


#ifdef M_NO_EXPECT
#define EXPECTED true
#else
#define EXPECTED (snap == here)
#endif
#ifdef M_PATH_OF_NAME
#define SAMEINST true
#else
#define SAMEINST (pinst == op)
#endif

active proctype Node() { here = 2 }            /* A's QPs and connections end with it */

active proctype Peer() {
  end: do
  /* an operation is bound to its snapshot's instance for life */  /* action: replace.bind */
  :: d_step { stage == 0 && snap != 0 -> op = snap; stage = 1 }
  /* STALE_INSTANCE, deadline: not applied */  /* action: replace.not_applied */
  :: d_step { stage == 1 -> op = 0; stage = 0 }
  /* the name is looked up again: first sight of B, by handshake or store */  /* action: replace.replaced */
  :: d_step { snap != here -> snap = here;
       path = 0; pinst = 0 }                                             /* instance ID changed: everything of that peer */
  /* HELLO / HANDSHAKE name the expected instance; a wrong one is refused */  /* action: replace.handshake */
  :: d_step { path == 0 && snap != 0 && EXPECTED -> path = here; pinst = snap }
  /* only on a path of the instance the operation is bound to */  /* action: replace.post */
  :: d_step { stage == 1 && path != 0 && SAMEINST -> opath = path; stage = 2 }
  od
}
active proctype Target() {
  end: do
  /* that end is gone */  /* action: replace.path_gone */
  :: d_step { stage == 2 && opath != here -> op = 0; opath = 0; stage = 0; path = (path == here -> path : 0) }
  /* a request names its target instance */  /* action: replace.admit */
  :: atomic { stage == 2 && opath == here ->
       if
#if !defined(RDMA) && !defined(M_NO_TARGET_ID)
       :: op != here -> skip                                             /* STALE_INSTANCE */
#endif
#if defined(RDMA) || defined(M_NO_TARGET_ID)
       :: true ->
#else
       :: op == here ->
#endif
          assert(op == here)                                             /* S1 */
       fi; op = 0; opath = 0; stage = 0 }
  od
}
